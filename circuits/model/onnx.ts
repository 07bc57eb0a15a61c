/**
 * Reads and writes ONNX files, as far as a chain of dense layers needs: graph, nodes with scalar, list and
 * tensor attributes, dense tensors inside the file. Field numbers from the public `onnx.proto3` (onnx/onnx).
 * Control flow, sparse, external and string tensors are refused, not guessed at; what a graph means is
 * decided in network.ts.
 */
import protobuf from 'protobufjs/light.js';
import { messageOf, VouchError } from '../../protocols/errors.ts';

export interface OnnxTensor {
  readonly dims: readonly number[];
  /** `float32` and `int64` can be written; any real or integer type can be read */
  readonly type: 'float32' | 'float64' | 'int64' | 'other';
  /** row-major; 64-bit integers beyond 2^53 are refused */
  readonly values: Float64Array;
}

export type OnnxAttribute = number | readonly number[] | string | OnnxTensor;

export interface OnnxNode {
  readonly name: string;
  /** the operator, such as `Gemm`; with its domain in front where that is not ONNX's own */
  readonly operator: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: ReadonlyMap<string, OnnxAttribute>;
}

export interface OnnxValue {
  readonly name: string;
  /** undefined where a dimension is symbolic or not given */
  readonly dims: readonly (number | undefined)[];
}

export interface OnnxGraph {
  readonly name: string;
  readonly opset: number;
  readonly nodes: readonly OnnxNode[];
  readonly initializers: ReadonlyMap<string, OnnxTensor>;
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
}

/** bytes; a dense model of the size that a circuit can hold stays far below */
const MAX_FILE = 64 * 1024 * 1024;
const MAX_NODES = 10_000;
const MAX_RANK = 8;

const DATA_TYPE = { float32: 1, float64: 11, int64: 7 } as const;
/** bytes per element in raw_data, and how to read one */
const RAW: Record<number, { bytes: number; read(view: DataView, offset: number): number }> = {
  1: { bytes: 4, read: (view, at) => view.getFloat32(at, true) },
  2: { bytes: 1, read: (view, at) => view.getUint8(at) },
  3: { bytes: 1, read: (view, at) => view.getInt8(at) },
  4: { bytes: 2, read: (view, at) => view.getUint16(at, true) },
  5: { bytes: 2, read: (view, at) => view.getInt16(at, true) },
  6: { bytes: 4, read: (view, at) => view.getInt32(at, true) },
  7: { bytes: 8, read: (view, at) => Number(view.getBigInt64(at, true)) },
  11: { bytes: 8, read: (view, at) => view.getFloat64(at, true) },
  12: { bytes: 4, read: (view, at) => view.getUint32(at, true) },
};

const field = (id: number, type: string, rule?: 'repeated') => (rule ? { id, type, rule } : { id, type });
const { nested } = {
  nested: {
    Model: {
      fields: {
        irVersion: field(1, 'int64'),
        producerName: field(2, 'string'),
        graph: field(7, 'Graph'),
        opsetImport: field(8, 'OperatorSet', 'repeated'),
      },
    },
    OperatorSet: { fields: { domain: field(1, 'string'), version: field(2, 'int64') } },
    Graph: {
      fields: {
        node: field(1, 'Node', 'repeated'),
        name: field(2, 'string'),
        initializer: field(5, 'Tensor', 'repeated'),
        input: field(11, 'ValueInfo', 'repeated'),
        output: field(12, 'ValueInfo', 'repeated'),
        sparseInitializer: field(15, 'bytes', 'repeated'),
      },
    },
    Node: {
      fields: {
        input: field(1, 'string', 'repeated'),
        output: field(2, 'string', 'repeated'),
        name: field(3, 'string'),
        opType: field(4, 'string'),
        attribute: field(5, 'Attribute', 'repeated'),
        domain: field(7, 'string'),
      },
    },
    Attribute: {
      fields: {
        name: field(1, 'string'),
        f: field(2, 'float'),
        i: field(3, 'int64'),
        s: field(4, 'bytes'),
        t: field(5, 'Tensor'),
        floats: field(7, 'float', 'repeated'),
        ints: field(8, 'int64', 'repeated'),
        type: field(20, 'int32'),
      },
    },
    Tensor: {
      fields: {
        dims: field(1, 'int64', 'repeated'),
        dataType: field(2, 'int32'),
        floatData: field(4, 'float', 'repeated'),
        int32Data: field(5, 'int32', 'repeated'),
        int64Data: field(7, 'int64', 'repeated'),
        name: field(8, 'string'),
        rawData: field(9, 'bytes'),
        doubleData: field(10, 'double', 'repeated'),
        uint64Data: field(11, 'uint64', 'repeated'),
        dataLocation: field(14, 'int32'),
      },
    },
    ValueInfo: { fields: { name: field(1, 'string'), type: field(2, 'ValueType') } },
    ValueType: { fields: { tensorType: field(1, 'TensorType') } },
    TensorType: { fields: { elemType: field(1, 'int32'), shape: field(2, 'Shape') } },
    Shape: { fields: { dim: field(1, 'Dimension', 'repeated') } },
    Dimension: { fields: { dimValue: field(1, 'int64'), dimParam: field(2, 'string') } },
  },
};
const Model = protobuf.Root.fromJSON({ nested }).lookupType('Model');

type Int64 = number | { toNumber(): number };
interface RawTensor {
  dims: Int64[];
  dataType: number;
  floatData: number[];
  int32Data: number[];
  int64Data: Int64[];
  name: string;
  rawData: Uint8Array;
  doubleData: number[];
  uint64Data: Int64[];
  dataLocation: number;
}
interface RawAttribute {
  name: string;
  f: number;
  i: Int64;
  s: Uint8Array;
  t: RawTensor | null;
  floats: number[];
  ints: Int64[];
  type: number;
}
interface RawValue {
  name: string;
  type: { tensorType: { shape: { dim: { dimValue?: Int64 }[] } | null } | null } | null;
}
interface RawModel {
  opsetImport: { domain: string; version: Int64 }[];
  graph: {
    name: string;
    node: {
      input: string[];
      output: string[];
      name: string;
      opType: string;
      domain: string;
      attribute: RawAttribute[];
    }[];
    initializer: RawTensor[];
    sparseInitializer: Uint8Array[];
    input: RawValue[];
    output: RawValue[];
  } | null;
}

/** Reads an ONNX file. Throws `bad-file` for anything truncated, malformed or outside the subset above. */
export function readOnnx(bytes: Uint8Array): OnnxGraph {
  if (bytes.length === 0) throw badFile('the file is empty');
  if (bytes.length > MAX_FILE) throw badFile(`the file has ${bytes.length} bytes, more than ${MAX_FILE}`);
  let model: RawModel;
  try {
    model = Model.decode(bytes) as unknown as RawModel;
  } catch (error) {
    throw badFile(`truncated, or not an ONNX file (${messageOf(error)})`);
  }
  const { graph } = model;
  if (!graph || graph.node.length === 0) throw badFile('truncated, or not an ONNX file (no graph in it)');
  if (graph.node.length > MAX_NODES) throw badFile(`${graph.node.length} nodes, more than ${MAX_NODES}`);
  if (graph.sparseInitializer.length > 0)
    throw badFile('sparse tensors are not supported; export dense weights');
  const opset = model.opsetImport.find(({ domain }) => domain === '' || domain === 'ai.onnx');
  if (!opset) throw badFile('truncated, or not an ONNX file (it names no version of the operators)');
  const initializers = new Map<string, OnnxTensor>();
  for (const tensor of graph.initializer) {
    if (initializers.has(tensor.name)) throw badFile(`two initializers are called ${quote(tensor.name)}`);
    initializers.set(tensor.name, readTensor(tensor, `initializer ${quote(tensor.name)}`));
  }
  return {
    name: graph.name,
    opset: integer(opset.version, 'opset version'),
    nodes: graph.node.map((node) => ({
      name: node.name,
      operator:
        node.domain === '' || node.domain === 'ai.onnx' ? node.opType : `${node.domain}.${node.opType}`,
      inputs: node.input,
      outputs: node.output,
      attributes: new Map(
        node.attribute.map((a) => [
          a.name,
          readAttribute(a, `attribute ${quote(a.name)} of ${quote(node.opType)}`),
        ]),
      ),
    })),
    initializers,
    inputs: graph.input.map(readValue),
    outputs: graph.output.map(readValue),
  };
}

const ATTRIBUTE_TYPE = { float: 1, int: 2, string: 3, tensor: 4, floats: 6, ints: 7 } as const;

/** An attribute of an unsupported kind (a graph, strings) reads as the empty string; no operator we know has one. */
function readAttribute(a: RawAttribute, where: string): OnnxAttribute {
  switch (a.type) {
    case ATTRIBUTE_TYPE.float:
      return a.f;
    case ATTRIBUTE_TYPE.int:
      return integer(a.i, where);
    case ATTRIBUTE_TYPE.string:
      return new TextDecoder().decode(a.s);
    case ATTRIBUTE_TYPE.tensor:
      if (!a.t) throw badFile(`${where}: expected a tensor, got none`);
      return readTensor(a.t, where);
    case ATTRIBUTE_TYPE.floats:
      return a.floats;
    case ATTRIBUTE_TYPE.ints:
      return a.ints.map((value) => integer(value, where));
    default:
      return '';
  }
}

function readTensor(tensor: RawTensor, where: string): OnnxTensor {
  if (tensor.dataLocation !== 0)
    throw badFile(`${where}: its data lies in another file; export one self-contained file`);
  if (tensor.dims.length > MAX_RANK)
    throw badFile(`${where}: ${tensor.dims.length} dimensions, more than ${MAX_RANK}`);
  const dims = tensor.dims.map((d) => integer(d, where));
  if (dims.some((d) => d < 0)) throw badFile(`${where}: a negative dimension`);
  const values = tensorValues(tensor, where);
  const expected = dims.reduce((a, b) => a * b, 1);
  if (values.length !== expected) {
    throw badFile(`${where}: expected ${expected} values for the shape [${dims}], got ${values.length}`);
  }
  const type =
    (Object.keys(DATA_TYPE) as (keyof typeof DATA_TYPE)[]).find(
      (key) => DATA_TYPE[key] === tensor.dataType,
    ) ?? 'other';
  return { dims, type, values };
}

function tensorValues(tensor: RawTensor, where: string): Float64Array {
  const raw = RAW[tensor.dataType];
  if (!raw)
    throw badFile(
      `${where}: data type ${tensor.dataType} is not supported; expected float, double or integers`,
    );
  const { rawData } = tensor;
  if (rawData.length > 0) {
    if (rawData.length % raw.bytes !== 0)
      throw badFile(`${where}: ${rawData.length} bytes are no multiple of ${raw.bytes}`);
    const view = new DataView(rawData.buffer, rawData.byteOffset, rawData.byteLength);
    return Float64Array.from({ length: rawData.length / raw.bytes }, (_, i) =>
      integer(raw.read(view, i * raw.bytes), where, tensor.dataType !== 7),
    );
  }
  switch (tensor.dataType) {
    case DATA_TYPE.float32:
      return Float64Array.from(tensor.floatData);
    case DATA_TYPE.float64:
      return Float64Array.from(tensor.doubleData);
    case DATA_TYPE.int64:
      return Float64Array.from(tensor.int64Data, (value) => integer(value, where));
    case 12:
      return Float64Array.from(tensor.uint64Data, (value) => integer(value, where));
    default:
      return Float64Array.from(tensor.int32Data);
  }
}

/** A protobuf integer as a number; `real` passes floating-point values through. */
function integer(value: Int64, where: string, real = false): number {
  const n = typeof value === 'number' ? value : value.toNumber();
  if (!real && !Number.isSafeInteger(n)) throw badFile(`${where}: an integer beyond 2^53`);
  return n;
}

const readValue = (value: RawValue): OnnxValue => ({
  name: value.name,
  dims: (value.type?.tensorType?.shape?.dim ?? []).map(({ dimValue }) => {
    const n = dimValue === undefined ? 0 : integer(dimValue, `shape of ${quote(value.name)}`);
    return n > 0 ? n : undefined;
  }),
});

/** Writes a graph as an ONNX file; tensors as raw little-endian float32 or int64. */
export function writeOnnx(graph: OnnxGraph): Uint8Array {
  const { name, opset, nodes, initializers, inputs, outputs } = graph;
  return Model.encode({
    irVersion: 8,
    producerName: 'vouch',
    opsetImport: [{ domain: '', version: opset }],
    graph: {
      name,
      node: nodes.map((node) => ({
        name: node.name,
        opType: node.operator,
        input: node.inputs,
        output: node.outputs,
        attribute: [...node.attributes].map(([key, value]) => writeAttribute(key, value)),
      })),
      initializer: [...initializers].map(([key, tensor]) => writeTensor(tensor, key)),
      input: inputs.map(writeValue),
      output: outputs.map(writeValue),
    },
  }).finish();
}

function writeAttribute(name: string, value: OnnxAttribute): object {
  if (typeof value === 'string')
    return { name, s: new TextEncoder().encode(value), type: ATTRIBUTE_TYPE.string };
  if (typeof value === 'number') return { name, i: value, type: ATTRIBUTE_TYPE.int };
  if ('values' in value && 'dims' in value)
    return { name, t: writeTensor(value as OnnxTensor, ''), type: ATTRIBUTE_TYPE.tensor };
  return { name, ints: value, type: ATTRIBUTE_TYPE.ints };
}

function writeTensor({ dims, type, values }: OnnxTensor, name: string): object {
  if (type !== 'float32' && type !== 'int64')
    throw new TypeError(`writeOnnx: cannot write a tensor of type ${type}`);
  const bytes = RAW[DATA_TYPE[type]]!.bytes;
  const view = new DataView(new ArrayBuffer(values.length * bytes));
  values.forEach((value, i) => {
    if (type === 'float32') view.setFloat32(i * bytes, value, true);
    else view.setBigInt64(i * bytes, BigInt(value), true);
  });
  return { dims, dataType: DATA_TYPE[type], name, rawData: new Uint8Array(view.buffer) };
}

const writeValue = ({ name, dims }: OnnxValue): object => ({
  name,
  type: {
    tensorType: {
      elemType: DATA_TYPE.float32,
      shape: { dim: dims.map((d) => (d === undefined ? { dimParam: 'rows' } : { dimValue: d })) },
    },
  },
});

const quote = (text: string): string => JSON.stringify(text.slice(0, 60));

const badFile = (message: string): VouchError => new VouchError('bad-file', `ONNX: ${message}`);

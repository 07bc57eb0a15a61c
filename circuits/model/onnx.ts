/**
 * Reads ONNX files (onnx-writer.ts writes them): graph, nodes with their attributes, dense tensors inside the file. Field numbers
 * and numbers of types from the public `onnx.proto3` (onnx/onnx). What a file holds and this reader does not
 * read (a graph as an attribute, a sparse tensor) is kept by its kind, so that whoever uses it can say so; what
 * a graph means is decided in graph.ts.
 *
 * Operator sets are those known here: another version may give an operator of the same name another meaning.
 */
import protobuf from 'protobufjs/light.js';
import { messageOf, VouchError } from '../../protocols/errors.ts';

export type OnnxType = keyof typeof DATA_TYPE;
export interface OnnxTensor {
  readonly dims: readonly number[];
  /** `float32`, `int64`, `int8`, `uint8` and `string` can be written; any real, integer or boolean type can be read */
  readonly type: OnnxType;
  /** row-major; a 64-bit integer near either end reads as an infinity, another one beyond 2^53 is refused */
  readonly values: Float64Array;
  /** of a tensor of strings, whose `values` are their positions */
  readonly strings?: readonly string[];
}

/** An attribute that is there and is not read: its kind. */
export interface Unread {
  readonly unread: string;
}

export type OnnxAttribute =
  | number
  | readonly number[]
  | Float64Array
  | string
  | readonly string[]
  | OnnxTensor
  | Unread;

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
  /** versions of the operator sets by domain; '' is ONNX's own */
  readonly opsets: ReadonlyMap<string, number>;
  readonly nodes: readonly OnnxNode[];
  readonly initializers: ReadonlyMap<string, OnnxTensor>;
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
}

/** The versions of operator sets whose operators are known here, by domain. */
export const KNOWN_OPSETS: ReadonlyMap<string, { readonly low: number; readonly high: number }> = new Map([
  ['', { low: 6, high: 24 }],
  ['ai.onnx.ml', { low: 1, high: 5 }],
]);

/** bytes; a model of the size that a circuit can hold stays far below */
const MAX_FILE = 64 * 1024 * 1024;
const MAX_NODES = 10_000;
const MAX_RANK = 8;

export const DATA_TYPE = {
  float32: 1,
  float64: 11,
  float16: 10,
  int64: 7,
  int32: 6,
  int8: 3,
  uint8: 2,
  bool: 9,
  string: 8,
  other: 0,
} as const;
/** bytes per element in raw_data, and how to read one */
export const RAW: Record<number, { bytes: number; read(view: DataView, offset: number): number }> = {
  1: { bytes: 4, read: (view, at) => view.getFloat32(at, true) },
  2: { bytes: 1, read: (view, at) => view.getUint8(at) },
  3: { bytes: 1, read: (view, at) => view.getInt8(at) },
  4: { bytes: 2, read: (view, at) => view.getUint16(at, true) },
  5: { bytes: 2, read: (view, at) => view.getInt16(at, true) },
  6: { bytes: 4, read: (view, at) => view.getInt32(at, true) },
  7: { bytes: 8, read: (view, at) => Number(view.getBigInt64(at, true)) },
  9: { bytes: 1, read: (view, at) => (view.getUint8(at) === 0 ? 0 : 1) },
  10: { bytes: 2, read: (view, at) => float16(view.getUint16(at, true)) },
  11: { bytes: 8, read: (view, at) => view.getFloat64(at, true) },
  12: { bytes: 4, read: (view, at) => view.getUint32(at, true) },
  13: { bytes: 8, read: (view, at) => Number(view.getBigUint64(at, true)) },
};
export const STRING = 8;

/** IEEE 754 half precision: 1 sign bit, 5 of the exponent, 10 of the fraction. */
function float16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
}

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
        strings: field(9, 'bytes', 'repeated'),
        type: field(20, 'int32'),
      },
    },
    Tensor: {
      fields: {
        dims: field(1, 'int64', 'repeated'),
        dataType: field(2, 'int32'),
        floatData: field(4, 'float', 'repeated'),
        int32Data: field(5, 'int32', 'repeated'),
        stringData: field(6, 'bytes', 'repeated'),
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
export const ModelProto = protobuf.Root.fromJSON({ nested }).lookupType('Model');

type Int64 = number | { toNumber(): number };
interface RawTensor {
  dims: Int64[];
  dataType: number;
  floatData: number[];
  int32Data: number[];
  stringData: Uint8Array[];
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
  strings: Uint8Array[];
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

/** How a file of Git LFS begins that was not fetched. */
const LFS_POINTER = 'version https://git-lfs.github.com/spec/';

/** Reads an ONNX file. Throws `bad-file` for anything truncated, malformed or outside the subset above. */
export function readOnnx(bytes: Uint8Array): OnnxGraph {
  if (bytes.length === 0) throw badFile('the file is empty; expected an exported model');
  if (bytes.length > MAX_FILE) throw badFile(`the file has ${bytes.length} bytes, more than ${MAX_FILE}`);
  if (new TextDecoder().decode(bytes.subarray(0, LFS_POINTER.length)) === LFS_POINTER)
    throw badFile('the file is a pointer of Git LFS and not the model; fetch it with git lfs pull');
  let model: RawModel;
  try {
    model = ModelProto.decode(bytes) as unknown as RawModel;
  } catch (error) {
    throw badFile(`truncated, or not an ONNX file (${messageOf(error)})`);
  }
  const { graph } = model;
  if (!graph || graph.node.length === 0) throw badFile('truncated, or not an ONNX file (no graph in it)');
  if (graph.node.length > MAX_NODES) throw badFile(`${graph.node.length} nodes, more than ${MAX_NODES}`);
  if (graph.sparseInitializer.length > 0)
    throw badFile('sparse tensors are not supported; export dense weights');
  if (model.opsetImport.length === 0)
    throw badFile('truncated, or not an ONNX file (it names no version of the operators)');
  const initializers = new Map<string, OnnxTensor>();
  for (const tensor of graph.initializer) {
    if (initializers.has(tensor.name)) throw badFile(`two initializers are called ${quote(tensor.name)}`);
    initializers.set(tensor.name, readTensor(tensor, `initializer ${quote(tensor.name)}`));
  }
  return {
    name: graph.name,
    opsets: new Map(
      model.opsetImport.map(({ domain, version }) => [ownDomain(domain), integer(version, 'opset version')]),
    ),
    nodes: graph.node.map((node) => ({
      name: node.name,
      operator: ownDomain(node.domain) === '' ? node.opType : `${node.domain}.${node.opType}`,
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

/** ONNX's own domain has two names. */
const ownDomain = (domain: string): string => (domain === 'ai.onnx' ? '' : domain);

export const ATTRIBUTE_TYPE = {
  float: 1,
  int: 2,
  string: 3,
  tensor: 4,
  floats: 6,
  ints: 7,
  strings: 8,
} as const;
const UNREAD_KINDS: Readonly<Record<number, string>> = {
  5: 'graph',
  9: 'list of tensors',
  10: 'list of graphs',
  11: 'sparse tensor',
  12: 'list of sparse tensors',
  13: 'type',
  14: 'list of types',
};
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

function readAttribute(a: RawAttribute, where: string): OnnxAttribute {
  switch (a.type) {
    case ATTRIBUTE_TYPE.float:
      return a.f;
    case ATTRIBUTE_TYPE.int:
      return integer(a.i, where);
    case ATTRIBUTE_TYPE.string:
      return text(a.s);
    case ATTRIBUTE_TYPE.tensor:
      if (!a.t) throw badFile(`${where}: expected a tensor, got none`);
      return readTensor(a.t, where);
    case ATTRIBUTE_TYPE.floats:
      return a.floats;
    case ATTRIBUTE_TYPE.ints:
      return a.ints.map((value) => integer(value, where));
    case ATTRIBUTE_TYPE.strings:
      return a.strings.map(text);
    default:
      return { unread: UNREAD_KINDS[a.type] ?? `kind ${a.type}` };
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
  const known = Object.entries(DATA_TYPE).find(([, number]) => number === tensor.dataType);
  const type = (known?.[0] ?? 'other') as OnnxType;
  return type === 'string'
    ? { dims, type, values, strings: tensor.stringData.map(text) }
    : { dims, type, values };
}

function tensorValues(tensor: RawTensor, where: string): Float64Array {
  const { rawData, dataType } = tensor;
  if (dataType === STRING) return Float64Array.from(tensor.stringData, (_, i) => i);
  const raw = RAW[dataType];
  if (!raw)
    throw badFile(
      `${where}: data type ${dataType} is not supported; expected floats, integers, booleans or strings`,
    );
  const isInt64 = dataType === DATA_TYPE.int64 || dataType === 13;
  if (rawData.length > 0) {
    if (rawData.length % raw.bytes !== 0)
      throw badFile(`${where}: ${rawData.length} bytes are no multiple of ${raw.bytes}`);
    const view = new DataView(rawData.buffer, rawData.byteOffset, rawData.byteLength);
    return Float64Array.from({ length: rawData.length / raw.bytes }, (_, i) => {
      const value = raw.read(view, i * raw.bytes);
      return isInt64 ? integer(value, where) : value;
    });
  }
  switch (dataType) {
    case DATA_TYPE.float32:
      return Float64Array.from(tensor.floatData);
    case DATA_TYPE.float64:
      return Float64Array.from(tensor.doubleData);
    case DATA_TYPE.int64:
      return Float64Array.from(tensor.int64Data, (value) => integer(value, where));
    case DATA_TYPE.float16:
      return Float64Array.from(tensor.int32Data, float16);
    case DATA_TYPE.bool:
      return Float64Array.from(tensor.int32Data, (value) => (value === 0 ? 0 : 1));
    case 12:
    case 13:
      return Float64Array.from(tensor.uint64Data, (value) => integer(value, where));
    default:
      return Float64Array.from(tensor.int32Data);
  }
}

/** From here on a 64-bit integer means "as far as it goes": exporters write INT64_MAX for the open end of a slice. */
const OPEN_END = 2 ** 62;

/** A protobuf integer as a number; beyond OPEN_END an infinity. */
function integer(value: Int64, where: string): number {
  const n = typeof value === 'number' ? value : value.toNumber();
  if (Math.abs(n) >= OPEN_END) return n < 0 ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  if (!Number.isSafeInteger(n)) throw badFile(`${where}: an integer beyond 2^53`);
  return n;
}

const readValue = (value: RawValue): OnnxValue => ({
  name: value.name,
  dims: (value.type?.tensorType?.shape?.dim ?? []).map(({ dimValue }) => {
    const n = dimValue === undefined ? 0 : integer(dimValue, `shape of ${quote(value.name)}`);
    return n > 0 ? n : undefined;
  }),
});

const quote = (name: string): string => JSON.stringify(name.slice(0, 60));

const badFile = (message: string): VouchError => new VouchError('bad-file', `ONNX: ${message}`);

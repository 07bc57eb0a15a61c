/** Writes graphs as ONNX files, as far as the graphs of this project need it: what is served, and what is trained here. */
import {
  ATTRIBUTE_TYPE,
  DATA_TYPE,
  ModelProto,
  type OnnxAttribute,
  type OnnxGraph,
  type OnnxTensor,
  type OnnxValue,
  RAW,
  STRING,
} from './onnx.ts';

/** Writes a graph as an ONNX file; tensors as raw little-endian float32 or int64, or as strings. */
export function writeOnnx(graph: OnnxGraph): Uint8Array {
  const { name, opsets, nodes, initializers, inputs, outputs } = graph;
  return ModelProto.encode({
    irVersion: 8,
    producerName: 'vouch',
    opsetImport: [...opsets].map(([domain, version]) => ({ domain, version })),
    graph: {
      name,
      node: nodes.map((node) => {
        const dot = node.operator.lastIndexOf('.');
        return {
          name: node.name,
          opType: node.operator.slice(dot + 1),
          domain: dot < 0 ? '' : node.operator.slice(0, dot),
          input: node.inputs,
          output: node.outputs,
          attribute: [...node.attributes].map(([key, value]) => writeAttribute(key, value)),
        };
      }),
      initializer: [...initializers].map(([key, tensor]) => writeTensor(tensor, key)),
      input: inputs.map(writeValue),
      output: outputs.map(writeValue),
    },
  }).finish();
}

/** A whole number is written as `int` and another one as `float`; a list as `ints`, a Float64Array as `floats`. */
function writeAttribute(name: string, value: OnnxAttribute): object {
  const bytes = (s: string): Uint8Array => new TextEncoder().encode(s);
  if (typeof value === 'string') return { name, s: bytes(value), type: ATTRIBUTE_TYPE.string };
  if (typeof value === 'number')
    return Number.isInteger(value)
      ? { name, i: value, type: ATTRIBUTE_TYPE.int }
      : { name, f: value, type: ATTRIBUTE_TYPE.float };
  if (value instanceof Float64Array) return { name, floats: [...value], type: ATTRIBUTE_TYPE.floats };
  if ('unread' in value) throw new TypeError(`writeOnnx: cannot write a ${value.unread}`);
  if ('dims' in value) return { name, t: writeTensor(value, ''), type: ATTRIBUTE_TYPE.tensor };
  return typeof value[0] === 'string'
    ? { name, strings: (value as readonly string[]).map(bytes), type: ATTRIBUTE_TYPE.strings }
    : { name, ints: value, type: ATTRIBUTE_TYPE.ints };
}

const INT64_MAX = 2n ** 63n - 1n;

function writeTensor({ dims, type, values, strings }: OnnxTensor, name: string): object {
  if (type === 'string')
    return { dims, dataType: STRING, name, stringData: strings!.map((s) => new TextEncoder().encode(s)) };
  if (type !== 'float32' && type !== 'int64' && type !== 'int8' && type !== 'uint8')
    throw new TypeError(`writeOnnx: cannot write a tensor of type ${type}`);
  const bytes = RAW[DATA_TYPE[type]]!.bytes;
  const view = new DataView(new ArrayBuffer(values.length * bytes));
  values.forEach((value, i) => {
    if (type === 'float32') view.setFloat32(i * bytes, value, true);
    else if (bytes === 1) view.setUint8(i, value);
    else if (Number.isFinite(value)) view.setBigInt64(i * bytes, BigInt(value), true);
    else view.setBigInt64(i * bytes, value > 0 ? INT64_MAX : -INT64_MAX, true);
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

/**
 * Models that were quantised before they came here: QDQ (QuantizeLinear and DequantizeLinear around ordinary operators) and
 * QOperator (QLinearMatMul, QLinearConv, MatMulInteger, ConvInteger), by the definitions of ONNX.
 *
 * A quantised value q stands for (q - zero point) * scale, which is affine, so weights come out as the numbers that they
 * stand for, exactly; where these are multiples of a power of two, the compiler's integers are the file's (quantise.ts). Of
 * what happens to values on their way three things are left out or done otherwise, which each node says in a note: rounding to
 * the file's steps (the compiler chooses its own, where values are requantised), the cut at the upper end, and the cut at the
 * lower end of what cannot be negative or is an input. A lower cut at zero is a ReLU, which exporters leave to it.
 */
import type { OnnxTensor, OnnxType } from '../onnx.ts';
import { DENSE } from './dense.ts';
import {
  type Activation,
  type Affine,
  affineOf,
  axisOf,
  combine,
  type NodeView,
  numberOf,
  numbersAt,
  positions,
  sizeOf,
  Unsupported,
  type Value,
  valueAt,
} from './value.ts';
import { WINDOW } from './window.ts';

const RANGES: Partial<Record<OnnxType, readonly [low: number, high: number]>> = {
  int8: [-128, 127],
  uint8: [0, 255],
};

/** Scale and zero point of each element. */
interface Steps {
  readonly scale: (at: number) => number;
  readonly zero: (at: number) => number;
  readonly type: OnnxType;
  readonly scales: Float64Array;
}

/** `at`: index of the scale among the inputs; the zero point follows it. `dims`: of the value; its axis has a step each, or one for all. */
function stepsOf(view: NodeView, at: number, dims: readonly number[], axis: number, what: string): Steps {
  const { dims: shape, values: scales } = numbersAt(view, at, `the scale of ${what}`);
  const zeros =
    view.inputs[at + 1] === undefined ? undefined : numbersAt(view, at + 1, `the zero point of ${what}`);
  const zeroValues = zeros?.values ?? new Float64Array(scales.length);
  if (numberOf(view, 'block_size', 0) !== 0 || shape.length > 1 || zeroValues.length !== scales.length)
    throw new Unsupported(
      `the steps of ${what} have the shape [${shape.join(', ')}]; expected one, or one for each channel`,
      'quantise by tensor or by channel',
    );
  if (!scales.every((scale) => scale > 0))
    throw new Unsupported(`a scale of ${what} is not above 0`, 'quantise the model again');
  const type = zeros?.type ?? 'uint8';
  if (scales.length === 1) return { scale: () => scales[0]!, zero: () => zeroValues[0]!, type, scales };
  const along = axisOf(axis, dims.length);
  if (dims[along] !== scales.length)
    throw new Unsupported(
      `${scales.length} steps for ${dims[along]} channels of ${what}`,
      'quantise the model again',
    );
  const channel = new Int32Array(sizeOf(dims));
  positions(dims, (position, e) => {
    channel[e] = position[along]!;
  });
  return { scale: (e) => scales[channel[e]!]!, zero: (e) => zeroValues[channel[e]!]!, type, scales };
}

/** factor[e] * x[e] + added[e] */
const mapped = (
  { stage, rows, offset }: Affine,
  factor: (e: number) => number,
  added: (e: number) => number,
): Affine => ({
  stage,
  rows: rows.map((row, e) => combine([{ row, factor: factor(e) }])),
  offset: offset.map((c, e) => factor(e) * c + added(e)),
});

function dequantised(value: Value, steps: Steps, what: string): Value {
  const { scale, zero } = steps;
  if (value.kind === 'constant') {
    const { dims, values } = value.tensor;
    const tensor: OnnxTensor = {
      dims,
      type: 'float32',
      values: values.map((q, e) => (q - zero(e)) * scale(e)),
    };
    return { kind: 'constant', tensor };
  }
  if (value.kind !== 'activation')
    throw new Unsupported(`${what} is not a number of the network`, 'quantise the model again');
  if (!value.affine) return value;
  return { ...value, affine: mapped(value.affine, scale, (e) => -zero(e) * scale(e)) };
}

const POWER_OF_TWO = (scale: number): boolean => Number.isInteger(Math.log2(scale));

/** What becomes of the steps of weights. */
function noteWeights(view: NodeView, { scales }: Steps): void {
  view.context.note(
    scales.every(POWER_OF_TWO)
      ? 'quantised weights keep their scales, which are powers of two, where they fit the bits of a weight'
      : `a scale of quantised weights (${scales.find((scale) => !POWER_OF_TWO(scale))}) is no power of two: they are quantised again, and the last bit of a weight may differ`,
  );
}

const dimsOf = (value: Value): readonly number[] => {
  if (value.kind === 'constant') return value.tensor.dims;
  if (value.kind === 'activation') return value.dims;
  throw new Unsupported('it takes what is not a number of the network', 'quantise the model again');
};

function dequantize(view: NodeView): Value[] {
  const value = valueAt(view, 0, 'its input');
  const steps = stepsOf(view, 1, dimsOf(value), numberOf(view, 'axis', 1), 'its input');
  if (value.kind === 'constant') noteWeights(view, steps);
  return [dequantised(value, steps, 'its input')];
}

/** Half to even, as ONNX rounds. */
const rounded = (x: number): number => {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
};

/** q of a value that depends on the input, without rounding, cut off at zero where the lower end stands for zero. */
function requantised(view: NodeView, value: Activation, steps: Steps): Value {
  const { scale, zero, type, scales } = steps;
  if (!value.affine) return value;
  const [low, high] = RANGES[type] ?? [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
  let { affine } = value;
  const negative = affine.rows.some(
    ({ by }, e) => affine.stage === 0 || affine.offset[e]! < 0 || by.some((c) => c < 0),
  );
  const cut = affine.rows.every((_, e) => zero(e) === low);
  const first = affine.stage === 0 && affine.rows.every(({ at }) => at.length <= 1);
  if (cut && negative && !first) affine = view.context.relu(affine);
  const most = Math.max(...scales.map((each) => each * (high - zero(0))));
  view.context.note(
    `values are rounded by steps of the compiler's own, not by ${scales[0]}${scales.every(POWER_OF_TWO) ? '' : ', which is no power of two'}; the file cuts them off at about ${Number(most.toPrecision(3))}, the compiler does not`,
  );
  return { ...value, affine: mapped(affine, (e) => 1 / scale(e), zero) };
}

function quantize(view: NodeView): Value[] {
  const value = valueAt(view, 0, 'its input');
  const steps = stepsOf(view, 1, dimsOf(value), numberOf(view, 'axis', 1), 'its output');
  if (value.kind === 'constant') {
    const [low, high] = RANGES[steps.type] ?? [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
    const values = value.tensor.values.map((x, e) =>
      Math.min(high, Math.max(low, rounded(x / steps.scale(e)) + steps.zero(e))),
    );
    return [{ kind: 'constant', tensor: { dims: value.tensor.dims, type: steps.type, values } }];
  }
  if (value.kind !== 'activation')
    throw new Unsupported(
      'scores are quantised after Softmax or Sigmoid',
      'leave what comes after the last linear layer as it is',
    );
  return [requantised(view, value, steps)];
}

type Product = (view: NodeView) => Value[];

/** x, its scale and zero point, w and its own, and those of the result; then perhaps a bias in steps of both. */
const linear =
  (product: Product, channels: (dims: readonly number[]) => number) =>
  (view: NodeView): Value[] => {
    const [x, w] = [valueAt(view, 0, 'its input'), valueAt(view, 3, 'its weights')];
    const xSteps = stepsOf(view, 1, dimsOf(x), 1, 'its input');
    const wSteps = stepsOf(view, 4, dimsOf(w), channels(dimsOf(w)), 'its weights');
    noteWeights(view, wSteps);
    const inputs: (Value | undefined)[] = [
      dequantised(x, xSteps, 'its input'),
      dequantised(w, wSteps, 'its weights'),
    ];
    if (view.inputs[8] !== undefined) {
      const bias = numbersAt(view, 8, 'its bias');
      const scale = (j: number): number =>
        xSteps.scale(0) * (wSteps.scales.length === 1 ? wSteps.scales[0]! : wSteps.scales[j]!);
      const values = bias.values.map((b, j) => b * scale(j));
      inputs.push({ kind: 'constant', tensor: { ...bias, type: 'float32', values } });
    }
    return product({ ...view, inputs }).map((value) => {
      if (value.kind !== 'activation') return value;
      const steps = stepsOf(view, 6, value.dims, 1, 'its output');
      return requantised(view, { ...value, affine: affineOf(value) }, steps);
    });
  };

/** Integers less their zero points; what they are worth, a Mul behind it says. */
const integer =
  (product: Product) =>
  (view: NodeView): Value[] => {
    const less = (at: number, zeroAt: number, what: string): Value => {
      const value = valueAt(view, at, what);
      if (view.inputs[zeroAt] === undefined) return value;
      const { values } = numbersAt(view, zeroAt, `the zero point of ${what}`);
      if (values.length !== 1)
        throw new Unsupported(`${what} has ${values.length} zero points; expected one`, 'quantise by tensor');
      const [zero] = values as unknown as [number];
      return dequantised(
        value,
        { scale: () => 1, zero: () => zero, type: 'int8', scales: Float64Array.of(1) },
        what,
      );
    };
    return product({ ...view, inputs: [less(0, 2, 'its input'), less(1, 3, 'its weights')] });
  };

export const QUANTISED = {
  QuantizeLinear: quantize,
  DequantizeLinear: dequantize,
  QLinearMatMul: linear(DENSE.MatMul, (dims) => dims.length - 1),
  QLinearConv: linear(WINDOW.Conv, () => 0),
  MatMulInteger: integer(DENSE.MatMul),
  ConvInteger: integer(WINDOW.Conv),
} as const;

/** Products with a matrix of weights, and the linear models of ai.onnx.ml. */
import {
  type Activation,
  type Affine,
  activationAt,
  affineOf,
  broadcastFrom,
  broadcastShape,
  combine,
  finite,
  listOf,
  MAX_TERMS,
  type NodeView,
  numberOf,
  numbersAt,
  type Row,
  sizeOf,
  swapped,
  textOf,
  textsOf,
  Unsupported,
  type Value,
  valueAt,
} from './value.ts';

/** Each output the sum of weights times elements of the input, and a constant. */
export interface Product {
  /** the elements that an output takes, and their weights */
  readonly taps: (output: number) => { readonly at: ArrayLike<number>; readonly by: ArrayLike<number> };
  readonly outputs: number;
  readonly bias: (output: number) => number;
}

/** Throws for more products than any circuit holds, before they are written down. */
export function demandProducts(products: number, gives: Activation): void {
  if (products > MAX_TERMS)
    throw new Unsupported(
      `its ${products} products are more than ${MAX_TERMS}, beyond any circuit that can be compiled`,
      'use a smaller model, or one that takes less at once',
      undefined,
      [{ ...gives, affine: undefined }],
    );
}

export function multiplied({ stage, rows, offset }: Affine, { taps, outputs, bias }: Product): Affine {
  const added = new Float64Array(outputs);
  const out = Array.from({ length: outputs }, (_, j): Row => {
    const { at, by } = taps(j);
    let constant = bias(j);
    const parts: { row: Row; factor: number }[] = [];
    for (let k = 0; k < at.length; k++) {
      const e = at[k]!;
      if (e < 0) continue;
      parts.push({ row: rows[e]!, factor: by[k]! });
      constant += by[k]! * offset[e]!;
    }
    added[j] = constant;
    return combine(parts);
  });
  return { stage, rows: out, offset: added };
}

/** A window of one position, at each of so many. */
export const alongPlaces = (positions: number) => ({
  image: [positions],
  kernel: [1],
  strides: [1],
  dilations: [1],
  before: [0],
  places: [positions],
});

/** The last axis of an activation times a matrix of inputs x outputs. */
function matrixProduct(
  { context }: NodeView,
  value: Activation,
  matrix: { readonly inputs: number; readonly outputs: number; weight(i: number, j: number): number },
  bias: (position: number, output: number) => number,
): Value {
  const { dims, batch } = value;
  const axis = dims.length - 1;
  if (axis < 0 || dims[axis] !== matrix.inputs)
    throw new Unsupported(
      `it takes ${matrix.inputs} values, what is before it gives ${dims[axis] ?? 1}`,
      'export the model again',
    );
  if (batch === axis) throw new Unsupported('it sums over the rows of the batch', 'keep the batch in front');
  const { inputs, outputs } = matrix;
  const shape = dims.with(axis, outputs);
  if (!value.affine) return { kind: 'activation', dims: shape, batch, affine: undefined };
  demandProducts(inputs * sizeOf(shape), { kind: 'activation', dims: shape, batch, affine: undefined });
  const { tensors } = context;
  if (tensors) {
    const positions = sizeOf(shape) / outputs;
    const weights = Float64Array.from({ length: outputs * inputs }, (_, e) =>
      matrix.weight(e % inputs, Math.floor(e / inputs)),
    );
    const added = Float64Array.from({ length: outputs }, (_, j) => bias(0, j));
    const made = tensors.conv(swapped(value.affine, [positions, inputs, 1]), {
      ...alongPlaces(positions),
      groups: 1,
      channels: inputs,
      outputs,
      weights,
      bias: added,
    });
    const affine = swapped(made, [outputs, positions, 1]);
    const differs = Array.from({ length: positions }, (_, p) => added.some((b, j) => bias(p, j) !== b));
    if (!differs.includes(true)) return { kind: 'activation', dims: shape, batch, affine };
    const more = Float64Array.from(affine.offset, (_, e) => {
      const [p, j] = [Math.floor(e / outputs), e % outputs];
      return bias(p, j) - added[j]!;
    });
    const scaled = tensors.scaled(affine, shape, new Float64Array(more.length).fill(1), more);
    return { kind: 'activation', dims: shape, batch, affine: scaled };
  }
  const columns = Array.from({ length: outputs }, (_, j) =>
    Float64Array.from({ length: inputs }, (_, i) => matrix.weight(i, j)),
  );
  const affine = multiplied(value.affine, {
    outputs: sizeOf(shape),
    taps: (e) => {
      const first = Math.floor(e / outputs) * inputs;
      return { at: Int32Array.from({ length: inputs }, (_, i) => first + i), by: columns[e % outputs]! };
    },
    bias: (e) => bias(Math.floor(e / outputs), e % outputs),
  });
  return { kind: 'activation', dims: shape, batch, affine };
}

/** Two matrices that both depend on the input: every product is one of its own, and their sums are public. */
function productOfTwo(
  { context: { tensors, asActivation } }: NodeView,
  values: readonly [Value, Value],
  turned: readonly [boolean, boolean],
  alpha: number,
): Activation | undefined {
  if (!tensors || values.some(({ kind }) => kind !== 'activation')) return undefined;
  const [a, b] = values.map((value) => asActivation(value, 'an input')) as [Activation, Activation];
  if (a.dims.length !== 2 || b.dims.length !== 2 || a.batch !== undefined || b.batch !== undefined)
    throw new Unsupported(
      `a product of values of the shapes [${a.dims.join(', ')}] and [${b.dims.join(', ')}] that both depend on the input`,
      'use two matrices',
    );
  const [rows, inner] = turned[0] ? [a.dims[1]!, a.dims[0]!] : [a.dims[0]!, a.dims[1]!];
  const [other, columns] = turned[1] ? [b.dims[1]!, b.dims[0]!] : [b.dims[0]!, b.dims[1]!];
  if (inner !== other)
    throw new Unsupported(`it sums ${inner} values with ${other}`, 'export the model again');
  const dims = [rows, columns];
  if (!a.affine || !b.affine) return { kind: 'activation', dims, batch: undefined, affine: undefined };
  demandProducts(rows * inner * columns, { kind: 'activation', dims, batch: undefined, affine: undefined });
  const places = Array.from({ length: rows * columns * inner }, (_, e) => {
    const [k, j, i] = [e % inner, Math.floor(e / inner) % columns, Math.floor(e / inner / columns)];
    return [turned[0] ? k * rows + i : i * inner + k, turned[1] ? j * inner + k : k * columns + j] as const;
  });
  const picked = ({ affine }: Activation, side: 0 | 1): Affine => ({
    stage: affine!.stage,
    rows: places.map((at) => affine!.rows[at[side]]!),
    offset: Float64Array.from(places, (at) => affine!.offset[at[side]]!),
  });
  const products = tensors.product(picked(a, 0), picked(b, 1));
  const affine = multiplied(products, {
    outputs: rows * columns,
    taps: (e) => ({
      at: Int32Array.from({ length: inner }, (_, k) => e * inner + k),
      by: Float64Array.from({ length: inner }, () => alpha),
    }),
    bias: () => 0,
  });
  return { kind: 'activation', dims, batch: undefined, affine };
}

function gemm(view: NodeView): Value[] {
  const two = gemmOfTwo(view);
  if (two) return two;
  const value = activationAt(view, 0, 'its first input');
  const weights = numbersAt(view, 1, 'its matrix of weights');
  if (numberOf(view, 'transA', 0) !== 0)
    throw new Unsupported(
      'transA = 1 sums over the rows of the batch',
      'transpose the weights, not the input',
    );
  if (value.dims.length !== 2 || weights.dims.length !== 2)
    throw new Unsupported(
      `expected two matrices, got shapes [${value.dims.join(', ')}] and [${weights.dims.join(', ')}]`,
      'flatten the input first',
    );
  const transposed = numberOf(view, 'transB', 0) !== 0;
  const [rows, columns] = weights.dims as [number, number];
  const [inputs, outputs] = transposed ? [columns, rows] : [rows, columns];
  const alpha = numberOf(view, 'alpha', 1);
  const beta = numberOf(view, 'beta', 1);
  const weight = (i: number, j: number): number =>
    alpha * weights.values[transposed ? j * columns + i : i * columns + j]!;
  const bias = view.inputs[2] === undefined ? undefined : numbersAt(view, 2, 'its bias');
  const addend =
    bias && beta !== 0 ? biasOf(bias, outputs, value.batch === 0 ? undefined : value.dims[0]!) : () => 0;
  return [matrixProduct(view, value, { inputs, outputs, weight }, (row, j) => beta * addend(row, j))];
}

function gemmOfTwo(view: NodeView): Value[] | undefined {
  const turned = [numberOf(view, 'transA', 0) !== 0, numberOf(view, 'transB', 0) !== 0] as const;
  const sides = [valueAt(view, 0, 'its first input'), valueAt(view, 1, 'its matrix')] as const;
  const product = productOfTwo(view, sides, turned, numberOf(view, 'alpha', 1));
  if (!product?.affine) return product && [product];
  const beta = numberOf(view, 'beta', 1);
  if (view.inputs[2] === undefined || beta === 0) return [product];
  const more = valueAt(view, 2, 'its bias');
  const { dims } = broadcastShape(
    product,
    more.kind === 'constant' ? { dims: more.tensor.dims, batch: undefined } : activationAt(view, 2),
  );
  if (dims.join() !== product.dims.join())
    throw new Unsupported('its bias does not fit the product', 'export the model again');
  const { tensors } = view.context;
  if (more.kind === 'constant') {
    const { values } = numbersAt(view, 2, 'its bias');
    const added = Float64Array.from(broadcastFrom(more.tensor.dims, dims), (at) => beta * values[at]!);
    const ones = new Float64Array(added.length).fill(1);
    return [{ ...product, affine: tensors!.scaled(product.affine, dims, ones, added) }];
  }
  const [x, y] = view.context.align([product.affine, affineOf(activationAt(view, 2))]) as [Affine, Affine];
  const from = broadcastFrom(activationAt(view, 2).dims, dims);
  const affine = {
    stage: x.stage,
    rows: x.rows.map((row, e) =>
      combine([
        { row, factor: 1 },
        { row: y.rows[from[e]!]!, factor: beta },
      ]),
    ),
    offset: x.offset.map((c, e) => c + beta * y.offset[from[e]!]!),
  };
  return [{ ...product, affine }];
}

/** A bias that broadcasts to rows x outputs. `rows`: undefined where the rows are those of the batch. */
function biasOf(
  { dims, values }: { dims: readonly number[]; values: Float64Array },
  outputs: number,
  rows: number | undefined,
): (row: number, output: number) => number {
  const [across, along] = dims.length > 1 ? dims.slice(-2) : [1, dims[0] ?? 1];
  const fits = dims.slice(0, -2).length === 0 && (along === 1 || along === outputs);
  if (!fits || (across !== 1 && across !== rows))
    throw new Unsupported(
      `its bias has the shape [${dims.join(', ')}]; expected [${outputs}], [1, ${outputs}] or one value`,
      'give the bias one value per output',
    );
  return (row, j) => values[(across === 1 ? 0 : row * along!) + (along === 1 ? 0 : j)]!;
}

function matMul(view: NodeView): Value[] {
  const sides = [valueAt(view, 0, 'its first input'), valueAt(view, 1, 'its second input')] as const;
  const two = productOfTwo(view, sides, [false, false], 1);
  if (two) return [two];
  if (valueAt(view, 0, 'its first input').kind === 'constant')
    throw new Unsupported('the weights come first', 'put the input first and the weights second');
  const value = activationAt(view, 0, 'its first input');
  const weights = numbersAt(view, 1, 'its matrix of weights');
  if (weights.dims.length > 2)
    throw new Unsupported('a matrix of its own for each position', 'use one matrix for all positions');
  const [inputs, outputs] =
    weights.dims.length === 1 ? [weights.dims[0]!, 1] : (weights.dims as [number, number]);
  const product = matrixProduct(
    view,
    value,
    { inputs, outputs, weight: (i, j) => weights.values[i * outputs + j]! },
    () => 0,
  );
  if (weights.dims.length > 1 || product.kind !== 'activation') return [product];
  return [{ ...product, dims: product.dims.slice(0, -1) }];
}

/** Weights of ai.onnx.ml's linear models: one row of features per output. */
function linearModel(view: NodeView, outputs: number): Value {
  const value = activationAt(view, 0);
  const coefficients = listOf(view, 'coefficients') ?? [];
  const intercepts = listOf(view, 'intercepts') ?? Array<number>(outputs).fill(0);
  const features = value.dims.at(-1) ?? 1;
  finite(coefficients, 'its coefficients');
  finite(intercepts, 'its intercepts');
  if (coefficients.length !== outputs * features || intercepts.length !== outputs)
    throw new Unsupported(
      `${coefficients.length} coefficients and ${intercepts.length} intercepts for ${features} features and ${outputs} outputs`,
      'export one row of coefficients and one intercept per output',
    );
  return matrixProduct(
    view,
    value,
    { inputs: features, outputs, weight: (i, j) => coefficients[j * features + i]! },
    (_, j) => intercepts[j]!,
  );
}

/** How ai.onnx.ml's classifiers call their classes, and what they do with the scores. */
export function classifierEnd(view: NodeView): {
  readonly classes: readonly (string | number)[];
  readonly by: 'plain' | 'softmax' | 'sigmoid';
} {
  const classes =
    textsOf(view, 'classlabels_strings') ??
    listOf(view, 'classlabels_ints') ??
    listOf(view, 'classlabels_int64s');
  if (!classes?.length) throw new Unsupported('it names no classes', 'export the model again');
  const transform = textOf(view, 'post_transform', 'NONE');
  const by = ({ NONE: 'plain', SOFTMAX: 'softmax', LOGISTIC: 'sigmoid' } as const)[transform];
  if (!by)
    throw new Unsupported(
      `its post_transform ${transform} may change the order of the classes`,
      'use NONE, SOFTMAX or LOGISTIC',
    );
  return { classes, by };
}

/** Class and scores of a classifier from its sums, one per class. */
export function classified(view: NodeView, sums: Value): Value[] {
  const { classes, by } = classifierEnd(view);
  if (sums.kind !== 'activation' || !sums.affine) return [sums, sums];
  const { dims, batch } = sums;
  const of = affineOf(sums);
  if (of.rows.length !== classes.length)
    throw new Unsupported(`${of.rows.length} sums for ${classes.length} classes`, 'export one sum per class');
  const node = view.index;
  const label: Value = { kind: 'label', dims: dims.slice(0, -1), batch, of, classes, node };
  return [label, by === 'plain' ? sums : { kind: 'scores', dims, batch, of, by, exclusive: true, node }];
}

function linearClassifier(view: NodeView): Value[] {
  const { classes } = classifierEnd(view);
  if ((listOf(view, 'intercepts') ?? classes).length !== classes.length)
    throw new Unsupported(
      'one score for two classes, whose threshold depends on the runtime',
      'export one row of coefficients and one intercept per class',
    );
  return classified(view, linearModel(view, classes.length));
}

export const DENSE = {
  Gemm: gemm,
  MatMul: matMul,
  'ai.onnx.ml.LinearClassifier': linearClassifier,
  'ai.onnx.ml.LinearRegressor': (view: NodeView): Value[] => [
    linearModel(view, numberOf(view, 'targets', 1)),
  ],
} as const;

/**
 * The end of a graph: which comparison all its outputs stand for, and the layers that lead there as matrices.
 *
 * Of a classifier only the order of its scores counts. Between two classes that is one sum, the second score less the
 * first: above 0 for the second class, and for the first on a tie, as an argmax has it.
 */
import { type Ensemble, mapLeaves } from './ensemble.ts';
import type { DenseLayer, DenseNetwork } from './network.ts';
import type { OnnxGraph } from './onnx.ts';
import type { Layers } from './operators/layers.ts';
import {
  type Activation,
  type Affine,
  type Context,
  combine,
  type Forest,
  type Row,
  type Scores,
  Unsupported,
  type Value,
} from './operators/value.ts';

/** Of all layers together, before they are quantised. */
const MAX_WEIGHTS = 2 ** 22;

export interface Decision {
  readonly of: Affine;
  readonly decision: DenseNetwork['decision'];
  readonly classes: readonly (string | number)[] | undefined;
}

/** What all outputs together decide. Undefined where an output is not known, because of a problem before it. */
export function decide(
  graph: OnnxGraph,
  values: ReadonlyMap<string, Value>,
  context: Context,
  notes: string[],
): Decision | undefined {
  if (graph.outputs.length === 0) throw new Unsupported('it has no output', 'export the model again');
  const outputs = graph.outputs.map(({ name }) => {
    const value = values.get(name);
    if (!value)
      throw new Unsupported(
        `nothing gives its output ${JSON.stringify(name.slice(0, 60))}`,
        'export the model again',
      );
    return value;
  });
  if (outputs.some((value) => value.kind === 'unknown' || (value.kind === 'activation' && !value.affine)))
    return undefined;
  const label = outputs.find((value) => value.kind === 'label');
  const found = outputs.map((value) => compared(value, label !== undefined, context, notes));
  const [first, ...others] = found as [Compared, ...Compared[]];
  if (others.some((other) => !same(first, other)))
    throw new Unsupported(
      'its outputs decide different things',
      'export one output, or the class and its scores alone; or take its outputs as tensors, with --tensors',
    );
  return { ...first, classes: label?.classes };
}

type Compared = Pick<Decision, 'of' | 'decision'>;

/** The comparison that an output stands for: between two classes one sum, which is above 0 for the second one. */
function compared(value: Value, labelled: boolean, context: Context, notes: string[]): Compared {
  if (value.kind === 'constant')
    throw new Unsupported('an output does not depend on the input', 'export the model again');
  const of = value.kind === 'activation' ? (value as Activation).affine! : (value as Scores).of;
  const count = of.rows.length;
  if (value.kind === 'scores') {
    notes.push(
      `${value.by} at the end keeps the order of what it takes: it becomes the comparison that it decides`,
    );
    if (count === 1 && value.by === 'softmax')
      throw new Unsupported('softmax of one value is always 1', 'use Sigmoid for two classes', value.node);
    const opposite = count === 2 && isOpposite(of);
    if (count > 1 && !value.exclusive && !opposite && !labelled)
      throw new Unsupported(
        `${count} outputs of Sigmoid are as many answers of their own (multi-label); which of them is the answer is not said`,
        'use Softmax, or ArgMax over them, where one class is right',
        value.node,
      );
    if (count === 1) return { of, decision: 'sign' };
  } else if (count === 1 && value.kind === 'activation') return { of, decision: 'number' };
  if (count === 2) return { of: context.align([difference(of)])[0]!, decision: 'sign' };
  return { of, decision: 'argmax' };
}

const difference = ({ stage, rows, offset }: Affine): Affine => ({
  stage,
  rows: [
    combine([
      { row: rows[1]!, factor: 1 },
      { row: rows[0]!, factor: -1 },
    ]),
  ],
  offset: Float64Array.of(offset[1]! - offset[0]!),
});

const isOpposite = ({ stage, rows, offset }: Affine): boolean => {
  const sum = combine(rows.map((row) => ({ row, factor: 1 })));
  return stage >= 0 && sum.by.every((c) => c === 0) && offset[0]! + offset[1]! === 0;
};

/** Whether two comparisons always decide alike: equal sums, or for two classes one that is a positive multiple. */
function same(a: Compared, b: Compared): boolean {
  if (a.decision !== b.decision || a.of.stage !== b.of.stage || a.of.rows.length !== b.of.rows.length)
    return false;
  const list = ({ rows, offset }: Affine): Map<string, number> =>
    new Map(
      rows.flatMap((row, e) => [
        ...Array.from(row.at, (at, k) => [`${e} ${at}`, row.by[k]!] as const).filter(([, c]) => c !== 0),
        ...(offset[e] === 0 ? [] : [[`${e}`, offset[e]!] as const]),
      ]),
    );
  const [x, y] = [list(a.of), list(b.of)];
  if (x.size !== y.size) return false;
  const [key, value] = [...x].at(0) ?? ['', 1];
  const factor = (y.get(key) ?? 0) / value;
  if (!(a.decision === 'sign' ? factor > 0 : Math.abs(factor - 1) < 1e-9)) return x.size === 0;
  return [...x].every(
    ([k, v]) => Math.abs((y.get(k) ?? Number.NaN) - factor * v) <= 1e-9 * Math.abs(factor * v),
  );
}

/** The trees with what is decided on as their leaves: linear functions of sums are sums. */
export function folded({ trees }: Forest, { width, of, decision }: Compared & { width: number }): Ensemble {
  if (of.stage !== 1)
    throw new Unsupported('the decision does not depend on the trees alone', 'end the model with its trees');
  const { rows, offset } = of;
  const apply = (values: Float64Array): Float64Array =>
    Float64Array.from(rows, ({ at, by }) => at.reduce((sum, i, k) => sum + by[k]! * values[i]!, 0));
  return {
    inputs: width,
    outputs: rows.length,
    trees: trees.map((tree) => mapLeaves(tree, apply)),
    bias: Float64Array.from(offset),
    decision,
  };
}

/** The layers and the last sums as matrices. */
export function chain(
  { units, lift }: Layers,
  { width, of, decision }: Compared & { width: number },
): DenseNetwork {
  const last = lift(of, Math.max(of.stage, 0));
  const widths = [width, ...units.slice(0, last.stage).map((layer) => layer.length)];
  const weights = widths.reduce((sum, n, l) => sum + n * (widths[l + 1] ?? last.rows.length), 0);
  if (weights > MAX_WEIGHTS)
    throw new Unsupported(
      `its layers of ${widths.join(', ')} and ${last.rows.length} units have ${weights} weights as dense layers, more than ${MAX_WEIGHTS}`,
      'use a smaller model; a convolution counts a weight for each of its positions',
    );
  const dense = (
    inputs: number,
    rows: readonly Row[],
    bias: ArrayLike<number>,
    relu: boolean,
  ): DenseLayer => {
    const matrix = new Float64Array(inputs * rows.length);
    rows.forEach(({ at, by }, j) => {
      at.forEach((i, k) => {
        matrix[j * inputs + i]! += by[k]!;
      });
    });
    return { inputs, outputs: rows.length, weights: matrix, bias: Float64Array.from(bias), relu };
  };
  const hidden = widths.slice(1).map((_, l) =>
    dense(
      widths[l]!,
      units[l]!.map(({ row }) => row),
      units[l]!.map(({ offset }) => offset),
      true,
    ),
  );
  const end = dense(widths.at(-1)!, last.rows, last.offset, false);
  return { inputs: width, layers: [...hidden, end], decision };
}

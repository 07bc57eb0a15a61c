/**
 * The layers that a graph turns out to need: units max(0, affine function of the stage before). Branches that lie
 * side by side become units of the same layer, and a value that a later layer needs is carried up to it. So every
 * graph of affine and piecewise linear operators becomes one chain of dense layers, whatever its shape.
 */
import { mapLeaves } from '../ensemble.ts';
import { type Affine, combine, type Forest, NOTHING, type Row, Unsupported } from './value.ts';

export interface Unit {
  readonly row: Row;
  readonly offset: number;
}

export interface Layers {
  /** units by layer; layer l takes stage l and gives stage l + 1 */
  readonly units: readonly (readonly Unit[])[];
  /** max(0, value), element by element */
  relu(value: Affine): Affine;
  /** the ensembles of trees whose sums are the units of the first layer, if they are; all side by side */
  readonly forest: Forest | undefined;
  /** sums of an ensemble */
  ensemble(forest: Forest): Affine;
  /** the same value over a later stage */
  lift(value: Affine, stage: number): Affine;
}

/** of one layer */
const MAX_UNITS = 2 ** 18;

const single = (unit: number): Row => ({ at: Int32Array.of(unit), by: Float64Array.of(1) });

export function createLayers(): Layers {
  const units: Unit[][] = [];
  /** by layer and row, where the units of that row are */
  const known: Map<Row, number[]>[] = [];
  let forest: Forest | undefined;

  /** Units for these affine functions; the same function of the same rows is never computed twice. */
  const place = (stage: number, wanted: readonly Unit[]): number[] => {
    if (forest)
      throw new Unsupported(
        'trees beside, before or after layers of a network',
        'use the one or the other: what is computed with the sums of trees has to be linear',
      );
    while (units.length <= stage) {
      units.push([]);
      known.push(new Map());
    }
    const layer = units[stage]!;
    return wanted.map((unit) => {
      const alike = known[stage]!.get(unit.row) ?? [];
      const found = alike.find((at) => layer[at]!.offset === unit.offset);
      if (found !== undefined) return found;
      if (layer.length >= MAX_UNITS)
        throw new Unsupported(
          `a layer of more than ${MAX_UNITS} units is beyond any circuit that can be compiled`,
          'use a smaller model, or one that takes less at once',
        );
      const at = layer.push(unit) - 1;
      known[stage]!.set(unit.row, [...alike, at]);
      return at;
    });
  };

  const relu = ({ stage, rows, offset }: Affine): Affine => {
    const at = place(
      stage,
      rows.map((row, e) => ({ row, offset: offset[e]! })),
    );
    return { stage: stage + 1, rows: at.map(single), offset: new Float64Array(rows.length) };
  };

  const lift = (value: Affine, stage: number): Affine => {
    if (value.stage >= stage) return value;
    const { rows, offset } = value;
    // A carried value is max(0, v) - max(0, -v); one that cannot be negative is max(0, v).
    const carried = rows.map((row) => {
      if (row.at.length === 0) return NOTHING;
      const parts = [{ row: single(place(value.stage, [{ row, offset: 0 }])[0]!), factor: 1 }];
      const positive = value.stage > 0 && row.by.every((c) => c >= 0);
      if (!positive) {
        const negated = { at: row.at, by: row.by.map((c) => -c) };
        parts.push({ row: single(place(value.stage, [{ row: negated, offset: 0 }])[0]!), factor: -1 });
      }
      return combine(parts);
    });
    return lift({ stage: value.stage + 1, rows: carried, offset }, stage);
  };

  const ensemble = (added: Forest): Affine => {
    if (units.length > 0)
      throw new Unsupported('trees beside layers of a network', 'use the one or the other');
    const before = forest?.outputs ?? 0;
    const outputs = before + added.outputs;
    const widened = (place: number) => (values: Float64Array) => {
      const all = new Float64Array(outputs);
      all.set(values, place);
      return all;
    };
    forest = {
      outputs,
      trees: [
        ...(forest?.trees ?? []).map((tree) => mapLeaves(tree, widened(0))),
        ...added.trees.map((tree) => mapLeaves(tree, widened(before))),
      ],
    };
    return {
      stage: 1,
      rows: Array.from({ length: added.outputs }, (_, i) => single(before + i)),
      offset: new Float64Array(added.outputs),
    };
  };

  return {
    units,
    relu,
    lift,
    ensemble,
    get forest() {
      return forest;
    },
  };
}

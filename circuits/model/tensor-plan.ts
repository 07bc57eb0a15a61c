/**
 * What a network of tensors computes and costs for a row, before anything is emitted: which elements are known, how
 * far each of the others may be from 0, and how many bits its decompositions have. Elements are known where they follow from
 * a row that everybody sees by public operations alone: they are constants, and products with them are linear. Bounds come from the row and the
 * public widths, never from hidden values.
 */
import type { Architecture } from './architecture.ts';
import { featureRanges, type Range } from './preprocessing.ts';
import {
  type Laid,
  type LaidConv,
  laidOut,
  type Rescale,
  rescaled,
  type TensorOperation,
  tapsOf,
} from './tensors.ts';

/** n with |value| <= bound < 2^(n-1). */
const signedBits = (bound: number): number => bound.toString(2).length + 1;

/** What is known of a value's elements for one row, or for all rows of these ranges. */
export interface Elements {
  readonly low: Float64Array;
  readonly high: Float64Array;
  /** 1 where it depends on the hidden parameters, or on a hidden row */
  readonly live: Uint8Array;
  /** the first element that is the same whatever the parameters are: equal parts of a public image give equal sums */
  readonly like: Int32Array;
}

const indices = (size: number): Int32Array => Int32Array.from({ length: size }, (_, e) => e);

/** Elements that are decomposed into as many bits. */
export type Classes = ReadonlyMap<number, readonly number[]>;

export interface Plan {
  readonly laid: readonly Laid[];
  readonly values: readonly Elements[];
  /** by operation: of rescale and max, elements by bits */
  readonly classes: readonly (Classes | undefined)[];
  readonly constraints: readonly number[];
  /** linear constraints, each of which takes a wire away */
  readonly linear: number;
}

export const isLive = ({ live }: Elements): boolean => live.includes(1);

/**
 * What each operation gives and costs for features in these ranges; of one row, each range is a single number. `hidden`: features
 * are signals, of which the circuit checks that they lie in their ranges.
 */
export function tensorPlan(
  operations: readonly TensorOperation[],
  ranges: readonly Range[],
  hidden = false,
): Plan {
  const laid = laidOut(operations, ranges.length);
  const values: Elements[] = [
    {
      low: Float64Array.from(ranges, ({ low }) => low),
      high: Float64Array.from(ranges, ({ high }) => high),
      live: Uint8Array.from(ranges, ({ low, high }) => (hidden && low < high ? 1 : 0)),
      like: indices(ranges.length),
    },
  ];
  const classes: (Classes | undefined)[] = [];
  const constraints: number[] = [];
  let linear = 0;
  for (const each of laid) {
    const planned = planOne(each, values);
    linear += planned.linear ?? 0;
    values.push(planned.elements);
    classes.push(planned.classes);
    constraints.push(planned.constraints);
  }
  return { laid, values, classes, constraints, linear };
}

/** Of any row that the architecture allows, which is hidden. */
export const hiddenPlan = (
  { preprocessing }: Pick<Architecture, 'preprocessing'>,
  operations: readonly TensorOperation[],
): Plan => tensorPlan(operations, featureRanges(preprocessing), true);

interface Planned {
  readonly elements: Elements;
  readonly classes?: Classes;
  readonly constraints: number;
  readonly linear?: number;
}

function planOne(each: Laid, values: readonly Elements[]): Planned {
  const { size } = each;
  const elements = {
    low: new Float64Array(size),
    high: new Float64Array(size),
    live: new Uint8Array(size),
    like: indices(size),
  };
  switch (each.kind) {
    case 'conv':
      return planConv(each, values, elements);
    case 'sum': {
      const { from, offset, operation } = each;
      for (let e = 0; e < size; e++) elements.low[e] = elements.high[e] = offset[e]!;
      operation.parts.forEach(({ of, factor }, p) => {
        const x = values[of]!;
        from[p]!.forEach((at, e) => {
          if (at < 0 || factor === 0) return;
          elements.low[e]! += factor * (factor > 0 ? x.low[at]! : x.high[at]!);
          elements.high[e]! += factor * (factor > 0 ? x.high[at]! : x.low[at]!);
          elements.live[e]! |= x.live[at]!;
        });
      });
      return { elements, constraints: 0 };
    }
    case 'rescale': {
      const { operation } = each;
      const x = values[operation.of]!;
      const byBits = new Map<number, number[]>();
      for (let e = 0; e < size; e++) {
        elements.low[e] = rescaled(operation, x.low[e]!);
        elements.high[e] = rescaled(operation, x.high[e]!);
        elements.live[e] = x.live[e]!;
        elements.like[e] = x.like[e]!;
        if (x.live[e] === 0 || x.like[e] !== e) continue;
        add(byBits, rescaleBits(operation, x.low[e]!, x.high[e]!), e);
      }
      const constraints = [...byBits].reduce(
        (sum, [n, list]) => sum + list.length * (n + rescaleRest(operation, n)),
        0,
      );
      const linear = [...byBits].reduce(
        (sum, [n, list]) => sum + list.length * (isCapped(operation, n) ? 2 : 1),
        0,
      );
      return { elements, classes: byBits, constraints, linear };
    }
    case 'max': {
      const { from, operation } = each;
      const x = values[operation.of]!;
      const byBits = new Map<number, number[]>();
      const seen = new Map<string, number>();
      let [constraints, linear] = [0, 0];
      for (let e = 0; e < size; e++) {
        const group = groupOf(from, e, x);
        elements.low[e] = group.reduce((most, at) => Math.max(most, x.low[at]!), Number.NEGATIVE_INFINITY);
        elements.high[e] = group.reduce((most, at) => Math.max(most, x.high[at]!), Number.NEGATIVE_INFINITY);
        if (group.every((at) => x.live[at] === 0)) continue;
        elements.live[e] = 1;
        const key = group.join();
        elements.like[e] = seen.get(key) ?? e;
        if (elements.like[e] !== e) continue;
        seen.set(key, e);
        if (group.length === 1) {
          add(byBits, 0, e);
          continue;
        }
        const least = group.reduce((low, at) => Math.min(low, x.low[at]!), Number.POSITIVE_INFINITY);
        const n = signedBits(elements.high[e]! - least);
        add(byBits, n, e);
        constraints += (group.length - 1) * (n + 1);
        linear += group.length - 1;
      }
      return { elements, classes: byBits, constraints, linear };
    }
    case 'product': {
      const { from, operation } = each;
      const [a, b] = operation.parts.map(({ of }) => values[of]!) as [Elements, Elements];
      let constraints = 0;
      for (let e = 0; e < size; e++) {
        const [i, j] = [from[0]![e]!, from[1]![e]!];
        const ends = [
          a.low[i]! * b.low[j]!,
          a.low[i]! * b.high[j]!,
          a.high[i]! * b.low[j]!,
          a.high[i]! * b.high[j]!,
        ];
        elements.low[e] = Math.min(...ends) + 0;
        elements.high[e] = Math.max(...ends) + 0;
        // A known 0 makes the product known.
        elements.live[e] = (a.live[i]! | b.live[j]!) === 1 && !isZero(a, i) && !isZero(b, j) ? 1 : 0;
        constraints += a.live[i]! & b.live[j]!;
      }
      return { elements, constraints };
    }
  }
}

const isZero = ({ live, low, high }: Elements, e: number): boolean =>
  live[e] === 0 && low[e] === 0 && high[e] === 0;

/** A group's elements, each once, in ascending order. */
export const groupOf = (from: readonly Int32Array[], e: number, { like }: Elements): number[] =>
  [...new Set(from.flatMap((part) => (part[e]! < 0 ? [] : [like[part[e]!]!])))].sort((a, b) => a - b);

function add(byBits: Map<number, number[]>, n: number, e: number): void {
  const list = byBits.get(n) ?? [];
  list.push(e);
  byBits.set(n, list);
}

function planConv(
  { operation, under, plane, size }: LaidConv,
  values: readonly Elements[],
  elements: Elements,
): Planned {
  const { of, groups, channels, outputs, weightBits, biasBits } = operation;
  const x = values[of]!;
  const taps = tapsOf(operation);
  const places = under.length;
  const perGroup = outputs / groups;
  let constraints = 0;
  const known = !isLive(x) && x.low.every((low, e) => low === x.high[e]);
  for (let g = 0; g < groups; g++) {
    const seen = new Map<string, number>();
    under.forEach((place, p) => {
      let [sum, live] = [0, 0];
      if (known) {
        const key = patchOf(x, place, g * channels, channels, plane);
        const first = seen.get(key) ?? p;
        seen.set(key, first);
        for (let o = g * perGroup; o < (g + 1) * perGroup; o++)
          elements.like[o * places + p] = o * places + first;
      }
      for (let c = g * channels; c < (g + 1) * channels; c++)
        for (let k = 0; k < taps; k++) {
          if (place[k]! < 0) continue;
          const at = c * plane + place[k]!;
          sum += Math.max(Math.abs(x.low[at]!), Math.abs(x.high[at]!));
          live += x.live[at]!;
        }
      const reach = sum * 2 ** (weightBits - 1) + 2 ** (biasBits - 1);
      constraints += perGroup * live;
      for (let o = g * perGroup; o < (g + 1) * perGroup; o++) {
        elements.low[o * places + p] = -reach;
        elements.high[o * places + p] = reach;
      }
    });
  }
  elements.live.fill(1, 0, size);
  return { elements, constraints };
}

/** What of a public image lies under a window: its elements other than 0, by tap. */
function patchOf(
  { low }: Elements,
  place: Int32Array,
  first: number,
  channels: number,
  plane: number,
): string {
  let key = '';
  for (let c = first; c < first + channels; c++)
    place.forEach((at, k) => {
      const x = at < 0 ? 0 : low[c * plane + at]!;
      if (x !== 0) key += `${c} ${k} ${x};`;
    });
  return key;
}

const halfOf = (shift: number): number => (shift > 0 ? 2 ** (shift - 1) : 0);

/** n of the decomposition, such that everything fits that the templates ask for. */
function rescaleBits({ shift, low }: Rescale, least: number, most: number): number {
  const moved = halfOf(shift) - (low ?? 0) * 2 ** shift;
  const n = signedBits(Math.max(Math.abs(least + moved), Math.abs(most + moved)));
  return Math.max(n, shift + 2);
}

/** Whether anything can be above the cap at all where n bits are taken. */
export const isCapped = ({ shift, cap }: Rescale, n: number): boolean =>
  cap !== undefined && shift + cap < n - 1;

/** Constraints of an element besides its bits. */
const rescaleRest = (rescale: Rescale, n: number): number =>
  rescale.low === undefined ? 0 : isCapped(rescale, n) ? 5 : 1;

export interface TensorsCost {
  /** constraints of each operation, without those of its parameters */
  readonly byOperation: readonly number[];
  readonly linear: number;
  /** of a margin of this class over the others */
  marginBits(label: number): number;
  /** of one whatever the class is */
  readonly widestMargin: number;
}

/** What a row costs, without the decision. Without features: at most. */
export function tensorsCost(
  architecture: Architecture,
  operations: readonly TensorOperation[],
  features?: ArrayLike<number>,
): TensorsCost {
  const ranges = features ? pointRanges(features) : featureRanges(architecture.preprocessing);
  const { constraints, values, linear } = tensorPlan(operations, ranges);
  const last = values.at(-1)!;
  return {
    byOperation: constraints,
    linear,
    marginBits: (label) => marginBits(last, architecture.decision, label),
    widestMargin: widestMargin(last, architecture),
  };
}

export const pointRanges = (features: ArrayLike<number>): Range[] =>
  Array.from(features, (x) => ({ low: x, high: x }));

/** Bits of a margin whatever the answer is. */
export const widestMargin = (elements: Elements, { decision, classes }: Architecture): number =>
  Math.max(
    marginBits(elements, decision, 0),
    ...classes.map((_, label) => marginBits(elements, decision, label)),
  );

/** How far from 0 the first element may be. */
export const outputReach = ({ low, high }: Elements): number =>
  Math.max(Math.abs(low[0]!), Math.abs(high[0]!));

/** Bits of a signed margin, which may be 1 less; of an answer that is a number, of its distance from an end of what counts. */
export function marginBits(elements: Elements, decision: Architecture['decision'], label: number): number {
  const { low, high } = elements;
  if (decision === 'tensor') return 0;
  if (decision === 'sign') return signedBits(outputReach(elements) + 1);
  if (decision === 'number') return signedBits(2 * outputReach(elements) + 1);
  let most = 0;
  low.forEach((_, j) => {
    if (j !== label)
      most = Math.max(most, Math.abs(high[label]! - low[j]!), Math.abs(high[j]! - low[label]!));
  });
  return signedBits(most + 1);
}

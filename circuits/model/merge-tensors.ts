/**
 * What is merged in a network of tensors before it is quantised, without a change of what it computes: a scale goes into the
 * convolution before or behind it, sums of a dense layer's outputs into its weights, a ReLU behind the maximum that takes it.
 */

import type { FloatConv, FloatMax, FloatOperation, FloatRelu, FloatSum } from './float-tensors.ts';
import { sizeOf } from './operators/value.ts';

const usesOf = (operation: FloatOperation): number[] =>
  'parts' in operation && operation.kind !== 'max'
    ? operation.parts.map(({ of }) => of)
    : [(operation as FloatConv | FloatMax | FloatRelu).of];

function usingInstead(operation: FloatOperation, of: (value: number) => number): FloatOperation {
  if (operation.kind === 'sum')
    return { ...operation, parts: operation.parts.map((part) => ({ ...part, of: of(part.of) })) };
  if (operation.kind === 'product')
    return { ...operation, parts: operation.parts.map((part) => ({ ...part, of: of(part.of) })) };
  return { ...operation, of: of(operation.of) };
}

/** Linear operations one after the other become one, ReLU goes behind a maximum, and what nobody uses is left out. */
export function merge(given: readonly FloatOperation[], inputs: number): FloatOperation[] {
  const operations: FloatOperation[] = [...given];
  for (let changed = true; changed; ) {
    changed = false;
    const uses = new Int32Array(operations.length + 1);
    uses[operations.length] = 1;
    for (const value of reachable(operations)) for (const of of usesOf(operations[value - 1]!)) uses[of]!++;
    for (let value = 1; value <= operations.length && !changed; value++) {
      if (uses[value] === 0) continue;
      const operation = operations[value - 1]!;
      const before = usesOf(operation);
      const [of] = before as [number];
      if (before.some((other) => other !== of) || of === 0) continue;
      // A sum names the value once for each part.
      if (uses[of]! > before.length) continue;
      const first = operations[of - 1]!;
      const merged = mergedPair(first, operation);
      if (!merged) continue;
      [operations[of - 1], operations[value - 1]] = merged;
      changed = true;
    }
  }
  const kept = [...reachable(operations)].sort((a, b) => a - b);
  const renamed = new Map([[0, 0], ...kept.map((value, i) => [value, i + 1] as const)]);
  const left = kept.map((value) => usingInstead(operations[value - 1]!, (of) => renamed.get(of)!));
  return left.length > 0
    ? left
    : [
        {
          kind: 'sum',
          parts: [{ of: 0, factor: 1, from: Int32Array.from({ length: inputs }, (_, e) => e) }],
          offset: new Float64Array(inputs),
        },
      ];
}

function reachable(operations: readonly FloatOperation[]): Set<number> {
  const found = new Set<number>();
  const open = [operations.length];
  for (let value = open.pop(); value !== undefined; value = open.pop()) {
    if (value === 0 || found.has(value)) continue;
    found.add(value);
    open.push(...usesOf(operations[value - 1]!));
  }
  return found;
}

/** What two operations become of which the second alone uses the first; the first is what nobody uses then, or moves. */
function mergedPair(
  first: FloatOperation,
  second: FloatOperation,
): [FloatOperation, FloatOperation] | undefined {
  if (first.kind === 'relu' && second.kind === 'max')
    return [
      { ...second, of: first.of },
      { kind: 'relu', of: second.of },
    ];
  if (first.kind === 'conv' && second.kind === 'conv') {
    if (isScale(second)) {
      const merged = scaledAfter(first, second);
      if (merged) return [first, merged];
    }
    if (isScale(first)) {
      const merged = scaledBefore(first, second);
      if (merged) return [first, merged];
    }
  }
  if (first.kind === 'conv' && second.kind === 'sum') {
    const merged = summedAfter(first, second);
    if (merged) return [first, merged];
  }
  return undefined;
}

const isScale = (conv: FloatConv): boolean =>
  conv.channels === 1 &&
  conv.outputs === conv.groups &&
  sizeOf(conv.kernel) === 1 &&
  conv.strides.every((s) => s === 1) &&
  conv.before.every((b) => b === 0) &&
  sizeOf(conv.places) === sizeOf(conv.image);

/** Factor and offset of each element. */
const ofElement = (scale: FloatConv) => {
  const plane = sizeOf(scale.image);
  return (e: number) => ({
    factor: scale.weights[Math.floor(e / plane)]!,
    offset: scale.bias[Math.floor(e / plane)]!,
  });
};

function scaledAfter(conv: FloatConv, scale: FloatConv): FloatConv | undefined {
  const at = ofElement(scale);
  const places = sizeOf(conv.places);
  const each = Array.from({ length: conv.outputs }, (_, o) => at(o * places));
  for (let e = 0; e < conv.outputs * places; e++) {
    const { factor, offset } = at(e);
    const own = each[Math.floor(e / places)]!;
    if (factor !== own.factor || offset !== own.offset) return undefined;
  }
  const row = conv.weights.length / conv.outputs;
  return {
    ...conv,
    weights: conv.weights.map((w, i) => w * each[Math.floor(i / row)]!.factor),
    bias: conv.bias.map((b, o) => b * each[o]!.factor + each[o]!.offset),
  };
}

function scaledBefore(scale: FloatConv, conv: FloatConv): FloatConv | undefined {
  const at = ofElement(scale);
  const plane = sizeOf(conv.image);
  const channels = conv.groups * conv.channels;
  const each = Array.from({ length: channels }, (_, c) => at(c * plane));
  for (let e = 0; e < channels * plane; e++) {
    const { factor, offset } = at(e);
    const own = each[Math.floor(e / plane)]!;
    if (factor !== own.factor || offset !== own.offset) return undefined;
  }
  // What lies in the padding is 0 behind the scale, not before it.
  const padded = conv.places.some(
    (places, axis) =>
      conv.before[axis]! > 0 ||
      (places - 1) * conv.strides[axis]! + (conv.kernel[axis]! - 1) * conv.dilations[axis]! >=
        conv.image[axis]!,
  );
  if (padded && each.some(({ offset }) => offset !== 0)) return undefined;
  const taps = sizeOf(conv.kernel);
  const perGroup = conv.outputs / conv.groups;
  const bias = conv.bias.slice();
  const weights = conv.weights.map((w, i) => {
    const o = Math.floor(i / (conv.channels * taps));
    const c = Math.floor(i / taps) % conv.channels;
    const { factor, offset } = each[Math.floor(o / perGroup) * conv.channels + c]!;
    bias[o]! += w * offset;
    return w * factor;
  });
  return { ...conv, of: scale.of, weights, bias };
}

/** A dense layer whose outputs are only summed. */
function summedAfter(conv: FloatConv, { parts, offset }: FloatSum): FloatConv | undefined {
  if (sizeOf(conv.places) !== 1 || conv.groups !== 1 || offset.length > conv.outputs) return undefined;
  const row = conv.weights.length / conv.outputs;
  const weights = new Float64Array(offset.length * row);
  const bias = offset.slice();
  for (const { factor, from } of parts)
    from.forEach((o, e) => {
      if (o < 0) return;
      for (let i = 0; i < row; i++) weights[e * row + i]! += factor * conv.weights[o * row + i]!;
      bias[e]! += factor * conv.bias[o]!;
    });
  return { ...conv, outputs: offset.length, weights, bias };
}

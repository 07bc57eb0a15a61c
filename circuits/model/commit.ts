/**
 * The model commitment: Poseidon(1, architecture element, salt, root of the quantised parameters).
 *
 * Parameters go in the order of the layers, each layer's weights row by row and then its biases. A parameter
 * of n bits is stored as value + 2^(n-1); they are packed from the least significant bit of a field element
 * upwards, and one that would pass bit 248 starts the next element. The root is the Poseidon chain over the
 * elements. The circuit range-checks each parameter: without that, packed weights collide.
 * Of an ensemble: tree by tree its splits, each stored as the index that it is, and its leaves; then the biases.
 *
 * Hiding rests on the salt: whoever has it can test guesses of the parameters.
 */
import { VouchError } from '../../protocols/errors.ts';
import { type Architecture, architectureElement } from './architecture.ts';
import { poseidon, poseidonChain } from './poseidon.ts';
import { featureRanges } from './preprocessing.ts';
import type { LayerParameters, Parameters, QuantisedModel } from './quantise.ts';
import { convsOf, weightsOf } from './tensors.ts';
import {
  candidatesOf,
  splitBits,
  type TreeParameters,
  type TreesShape,
  topologiesOf,
  treeGroups,
  treesOf,
} from './trees.ts';

export const COMMITMENT_VERSION = 1n;
/** Bits of a field element that parameters fill; BN254's r has 254. */
export const PACKED_BITS = 248;
/** Salt: 31 random bytes, so that it is a field element as it is. */
export const SALT_BYTES = 31;

export interface CommittedModel extends QuantisedModel {
  readonly salt: Uint8Array;
}

/** A fresh salt from the platform's generator. */
export const randomSalt = (): Uint8Array => crypto.getRandomValues(new Uint8Array(SALT_BYTES));

/** The commitment to a model, a field element. Throws RangeError for a parameter outside its width. */
export function commit({ architecture, parameters, salt }: CommittedModel): bigint {
  return poseidon([
    COMMITMENT_VERSION,
    architectureElement(architecture),
    saltElement(salt),
    parameterRoot(architecture, parameters),
  ]);
}

export const parameterRoot = (architecture: Architecture, parameters: Parameters): bigint =>
  poseidonChain(packParameters(architecture, parameters));

/** The salt as a field element: its bytes as a big-endian integer. */
export function saltElement(salt: Uint8Array): bigint {
  if (salt.length !== SALT_BYTES)
    throw new RangeError(`salt: expected ${SALT_BYTES} bytes, got ${salt.length}`);
  return salt.reduce((n, byte) => n * 256n + BigInt(byte), 0n);
}

/** The width in bits of every parameter, in commitment order. */
export function parameterWidths(architecture: Architecture): number[] {
  const { trees, preprocessing } = architecture;
  if (trees)
    return treeGroups(trees, candidatesOf(featureRanges(preprocessing)).length).flatMap(({ count, bits }) =>
      Array<number>(count).fill(bits),
    );
  return linearOf(architecture).flatMap(({ weights, outputs, weightBits, biasBits }) => [
    ...Array<number>(weights).fill(weightBits),
    ...Array<number>(outputs).fill(biasBits),
  ]);
}

/** What has weights and biases, in the order of commitment: dense layers, or convolutions. */
function linearOf({ layers, tensors }: Architecture) {
  if (tensors) return convsOf(tensors).map((conv) => ({ ...conv, weights: weightsOf(conv) }));
  return layers.map((layer) => ({ ...layer, weights: layer.inputs * layer.outputs }));
}

/** How many field elements parameters of these widths fill: one at least, which is 0 where there is none. */
export const elementsFor = (widths: readonly number[]): number =>
  (placements(widths).at(-1)?.element ?? 0) + 1;

/** Where a parameter lies: in which element, from which bit. */
export function placements(widths: readonly number[]): { element: number; offset: number }[] {
  let element = 0;
  let next = 0;
  return widths.map((bits) => {
    if (next + bits > PACKED_BITS) {
      element++;
      next = 0;
    }
    const offset = next;
    next += bits;
    return { element, offset };
  });
}

/** Every parameter, in commitment order. Throws RangeError where the shapes do not fit the architecture. */
export function flatParameters(architecture: Architecture, parameters: Parameters): number[] {
  const { trees } = architecture;
  if (trees) return flatTrees(architecture, trees, parameters);
  const linear = linearOf(architecture);
  if (parameters.layers.length !== linear.length) {
    throw new RangeError(`parameters: expected ${linear.length} layers, got ${parameters.layers.length}`);
  }
  return linear.flatMap((expected, l) => {
    const { weights, bias } = parameters.layers[l]!;
    if (weights.length !== expected.weights || bias.length !== expected.outputs) {
      throw new RangeError(
        `parameters of layer ${l}: expected ${expected.weights} weights and ${expected.outputs} biases`,
      );
    }
    return [...weights, ...bias];
  });
}

/** A split is stored as it is; here, where what is stored is value + 2^(bits-1), it is that much less. */
function flatTrees({ preprocessing }: Architecture, trees: TreesShape, { trees: own }: Parameters): number[] {
  if (!own) throw new RangeError('parameters: expected those of trees');
  const half = splitHalf(preprocessing);
  return [
    ...treesOf(trees, own).flatMap(({ split, leaf }) => [
      ...Array.from(split, (s) => s - half),
      ...leaf.flatMap((values) => [...values]),
    ]),
    ...own.bias,
  ];
}

const splitHalf = (preprocessing: Architecture['preprocessing']): number =>
  2 ** (splitBits(candidatesOf(featureRanges(preprocessing)).length) - 1);

/** The inverse of `flatTrees`. Throws `bad-input` for a split that is none. */
function treesFromFlat(
  { preprocessing }: Architecture,
  shape: TreesShape,
  take: (count: number) => Int32Array,
): TreeParameters {
  const half = splitHalf(preprocessing);
  const most = candidatesOf(featureRanges(preprocessing)).length;
  const splits: number[] = [];
  const leaves: number[] = [];
  topologiesOf(shape).forEach((topology, t) => {
    for (const s of take(topology.splits)) splits.push(s + half);
    for (const value of take(shape.targets[t]!.length * (topology.splits + 1))) leaves.push(value);
  });
  if (splits.some((s) => s > most))
    throw new VouchError('bad-input', `model secret: a split beyond the ${most} candidates`);
  return { splits: Int32Array.from(splits), leaves: Int32Array.from(leaves), bias: take(shape.outputs) };
}

/** The packed field elements of a model's parameters. */
export function packParameters(architecture: Architecture, parameters: Parameters): bigint[] {
  const widths = parameterWidths(architecture);
  const places = placements(widths);
  const elements = Array<bigint>(elementsFor(widths)).fill(0n);
  flatParameters(architecture, parameters).forEach((value, i) => {
    const bits = widths[i]!;
    const stored = value + 2 ** (bits - 1);
    if (!Number.isInteger(value) || stored < 0 || stored >= 2 ** bits) {
      throw new RangeError(`parameter ${i}: expected a signed integer of ${bits} bits`);
    }
    const { element, offset } = places[i]!;
    elements[element]! |= BigInt(stored) << BigInt(offset);
  });
  return elements;
}

/**
 * The secret of a model as bytes, to be encrypted and stored: the salt, then the packed elements, 31 bytes
 * each, little-endian. Its length follows from the architecture.
 */
export function encodeSecret({ architecture, parameters, salt }: CommittedModel): Uint8Array {
  saltElement(salt);
  const elements = packParameters(architecture, parameters);
  const bytes = new Uint8Array(SALT_BYTES + elements.length * ELEMENT_BYTES);
  bytes.set(salt);
  elements.forEach((element, e) => {
    for (let i = 0; i < ELEMENT_BYTES; i++) {
      bytes[SALT_BYTES + e * ELEMENT_BYTES + i] = Number((element >> BigInt(8 * i)) & 0xffn);
    }
  });
  return bytes;
}
const ELEMENT_BYTES = PACKED_BITS / 8;

/** The inverse of `encodeSecret`. Throws `bad-input` for a wrong length or bits set where no parameter is. */
export function decodeSecret(architecture: Architecture, bytes: Uint8Array): CommittedModel {
  const widths = parameterWidths(architecture);
  const places = placements(widths);
  const expected = SALT_BYTES + elementsFor(widths) * ELEMENT_BYTES;
  if (bytes.length !== expected) {
    throw new VouchError(
      'bad-input',
      `model secret: expected ${expected} bytes for this architecture, got ${bytes.length}`,
    );
  }
  const values = places.map(({ element, offset }, i) => {
    const from = SALT_BYTES * 8 + element * PACKED_BITS + offset;
    let stored = 0;
    for (let bit = 0; bit < widths[i]!; bit++) {
      const at = from + bit;
      stored += ((bytes[at >> 3]! >> (at & 7)) & 1) * 2 ** bit;
    }
    return stored - 2 ** (widths[i]! - 1);
  });
  let taken = 0;
  const take = (count: number): Int32Array => {
    taken += count;
    return Int32Array.from(values.slice(taken - count, taken));
  };
  const { trees } = architecture;
  const layers: LayerParameters[] = linearOf(architecture).map(({ weights, outputs }) => ({
    weights: take(weights),
    bias: take(outputs),
  }));
  const parameters = trees ? { layers, trees: treesFromFlat(architecture, trees, take) } : { layers };
  const model = { architecture, parameters, salt: bytes.slice(0, SALT_BYTES) };
  if (!encodeSecret(model).every((byte, i) => byte === bytes[i])) {
    throw new VouchError('bad-input', 'model secret: bits are set where the architecture has no parameter');
  }
  return model;
}

/**
 * The public half of a quantised model: what it says of its data, shapes, bit widths, shifts, bounds. The
 * hidden half, the parameters, is in quantise.ts.
 *
 * There are three versions. Version 1 had columns and class names alone, and layers. Version 2 holds the data dictionary and a
 * list of operations, or one ensemble of trees (trees.ts) in their place. Version 3 is a network of tensors without a table
 * (tensors.ts), whose answers are tensors. A model is known by its own version's bytes, so one of version 1 stays what it is.
 *
 * One file, although it is long: the schemas of all versions and what they have in common are read side by side.
 *
 * Arithmetic that it describes, all in integers:
 *   a = sum_i w_i x_i + b                        every layer
 *   h = max(0, floor((a + 2^(k-1)) * 2^-k))      hidden layers, k = `shift`, 1 <= k
 *   class = argmax a                             last layer, the lowest index on a tie; with decision
 *                                            `sign` there is one output a, and the class is 1 when a > 0;
 *                                            with `number` there is one, and the answer is its number (numbers.ts)
 * w lies in -2^(weightBits-1) .. 2^(weightBits-1) - 1, b likewise. `accumulator` bounds
 * sum |w||x| + |b| + 2^(k-1) over all such w and b and all x in their ranges, not over the actual hidden
 * values; it is below 2^24, so that float32 computes every step exactly, in any order.
 *
 * Canonical bytes: deterministic CBOR (RFC 8949, section 4.2.1) of exactly the fields of the schema below;
 * only text, integers, arrays and maps with text keys occur. The digest is SHA-256 of those bytes; as a
 * field element it is that digest as a big-endian integer mod r (BN254).
 */
import { bn254 } from '@noble/curves/bn254.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import { encode, rfc8949EncodeOptions } from 'cborg';
import { z } from 'zod';
import { VouchError } from '../../protocols/errors.ts';
import { classNames, Dictionary, dictionaryDigest, parseDictionary, preprocessingOf } from './dictionary.ts';
import { decimalOf, type NumberEnd, OutputScale } from './numbers.ts';
import { checkColumns, featureRanges, Preprocessing, type Range } from './preprocessing.ts';
import {
  checkTensors,
  convsOf,
  greatest,
  isTensorOperation,
  laidOut,
  MAX_TENSOR_OPERATIONS,
  type TensorOperation,
  TensorOperations,
  weightsOf,
} from './tensors.ts';
import { checkTrees, TreesShape } from './trees.ts';

/** float32 represents every integer up to this exactly. */
export const EXACT = 2 ** 24;
export const ROUNDING = 'floor((x + 2^(k-1)) * 2^-k)';
const MAX_WIDTH = 4096;
const MAX_LAYER_OPERATIONS = 32;
const MAX_TENSOR_INPUTS = 2 ** 16;
/** parameters; beyond this the circuit would not fit any key made on one machine */
const MAX_PARAMETERS = 2 ** 20;

export const LayerShape = z.strictObject({
  inputs: z.int().min(1).max(MAX_WIDTH),
  outputs: z.int().min(1).max(MAX_WIDTH),
  weightBits: z.int().min(2).max(8),
  biasBits: z.int().min(2).max(24),
  /** k; 0 on the last layer, which is not requantised */
  shift: z.int().min(0).max(23),
  /** greatest absolute value of an accumulator, rounding included */
  accumulator: z
    .int()
    .min(1)
    .max(EXACT - 1),
  /** greatest value of an output: of h, or |a| on the last layer */
  output: z
    .int()
    .min(0)
    .max(EXACT - 1),
});
export type LayerShape = z.infer<typeof LayerShape>;

const Classes = z.array(z.string().min(1).max(64)).min(2).max(1024);
const Decision = z.enum(['argmax', 'sign', 'number']);

/** The document of version 1. */
export const ArchitectureV1 = z.strictObject({
  version: z.literal(1),
  preprocessing: Preprocessing,
  layers: z.array(LayerShape).min(1).max(16),
  rounding: z.literal(ROUNDING),
  decision: Decision.exclude(['number']),
  classes: Classes,
});

const { inputs, outputs, weightBits, biasBits, shift, accumulator, output } = LayerShape.shape;
/** What is computed one after the other; each takes what the one before it gives, the first the features. */
const Operation = z.discriminatedUnion('kind', [
  z
    .strictObject({ kind: z.literal('dense'), inputs, outputs, weightBits, biasBits, accumulator })
    .describe(
      'a = W x + b, with hidden W and b; `accumulator` bounds |a|, rounding of what follows included',
    ),
  z
    .strictObject({ kind: z.literal('relu'), shift: shift.min(1), output })
    .describe('h = max(0, floor((a + 2^(shift-1)) * 2^-shift)), at most `output`'),
  TreesShape,
  ...TensorOperations,
]);
type Operation = z.infer<typeof Operation>;

/** The document of version 3: a network of tensors without a table. Inputs lie side by side as its features. */
const Name = z.string().min(1).max(100);
const Dims = z
  .array(
    z
      .int()
      .min(1)
      .max(2 ** 18),
  )
  .max(8);
const Exponent = z.int().min(-30).max(60);
export const ArchitectureV3 = z.strictObject({
  version: z.literal(3),
  inputs: z
    .array(z.strictObject({ name: Name, dims: Dims, low: z.int(), high: z.int() }))
    .min(1)
    .max(64)
    .describe('in whole steps; an integer x stands for x * 2^-exponent'),
  exponent: Exponent.describe('of the inputs'),
  operations: z.array(z.discriminatedUnion('kind', TensorOperations)).min(1).max(MAX_TENSOR_OPERATIONS),
  outputs: z
    .array(z.strictObject({ name: Name, dims: Dims }))
    .min(1)
    .max(64),
  outputExponent: Exponent,
  rounding: z.literal(ROUNDING),
});
/** What a network of tensors takes and gives. */
export type TensorNames = Pick<
  z.infer<typeof ArchitectureV3>,
  'inputs' | 'exponent' | 'outputs' | 'outputExponent'
>;

/** The document of version 2. */
export const ArchitectureV2 = z.strictObject({
  version: z.literal(2),
  dictionary: Dictionary,
  operations: z.array(Operation).min(1).max(MAX_TENSOR_OPERATIONS),
  rounding: z.literal(ROUNDING),
  decision: Decision,
  scale: OutputScale.optional().describe(
    "with decision `number`: what the output is worth in the label's steps",
  ),
});

/** An architecture of either version, as it is worked with. */
export interface Architecture {
  readonly version: 1 | 2 | 3;
  /** of version 3 */
  readonly named?: TensorNames | undefined;
  /** of version 2 */
  readonly dictionary?: Dictionary | undefined;
  readonly preprocessing: Preprocessing;
  /** none where there are trees or tensors */
  readonly layers: readonly LayerShape[];
  readonly tensors?: readonly TensorOperation[] | undefined;
  readonly trees?: TreesShape | undefined;
  readonly rounding: typeof ROUNDING;
  /** `tensor`: the outputs are numbers, and none of them is a class */
  readonly decision: z.infer<typeof Decision> | 'tensor';
  /** names, in the order of the outputs; none where the answer is a number */
  readonly classes: readonly string[];
  /** with decision `number`: how the output becomes the answer */
  readonly number?: NumberEnd | undefined;
}

/**
 * Checks an architecture from outside: schema, shapes that fit each other, and bounds that are the ones
 * computed here. Throws `bad-input`, which names the field.
 */
export function parseArchitecture(value: unknown): Architecture {
  const version = (value as { version?: unknown } | null)?.version;
  const result = (version === 3 ? ArchitectureV3 : version === 2 ? ArchitectureV2 : ArchitectureV1).safeParse(
    value,
  );
  if (!result.success) {
    const issue = result.error.issues[0]!;
    throw bad(issue.path.join('.') || 'value', issue.message);
  }
  const { data } = result;
  const architecture: Architecture =
    data.version === 1 ? data : data.version === 2 ? fromOperations(data) : fromTensors(data);
  checkShapes(architecture);
  return architecture;
}

/** The one class that stands for all answers where these are numbers. */
const TENSOR = 'tensor';

function fromTensors(document: z.infer<typeof ArchitectureV3>): Architecture {
  const { inputs, exponent, operations, outputs, outputExponent, rounding } = document;
  const size = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);
  if (inputs.reduce((sum, { dims }) => sum + size(dims), 0) > MAX_TENSOR_INPUTS)
    throw bad('inputs', `more than ${MAX_TENSOR_INPUTS} elements`);
  const columns = inputs.flatMap(({ name, dims, low, high }) =>
    Array.from({ length: size(dims) }, (_, i) => ({
      kind: 'integer' as const,
      name: `${name}[${i}]`,
      low,
      high,
    })),
  );
  if (inputs.some(({ low, high }) => low >= high || Math.max(-low, high) >= EXACT))
    throw bad('inputs', 'expected low < high, within 2^24');
  for (const names of [inputs, outputs])
    if (new Set(names.map(({ name }) => name)).size < names.length)
      throw bad('inputs', 'two have the same name');
  const laid =
    checkTensors(operations, featureRanges({ columns }), bad) && laidOut(operations, columns.length);
  const given = outputs.reduce((sum, { dims }) => sum + size(dims), 0);
  if (laid.at(-1)!.size !== given)
    throw bad('outputs', `expected ${laid.at(-1)!.size} elements, got ${given}`);
  return {
    version: 3,
    named: { inputs, exponent, outputs, outputExponent },
    preprocessing: { columns },
    layers: [],
    tensors: operations,
    rounding,
    decision: 'tensor',
    classes: [TENSOR],
  };
}

function fromOperations(document: z.infer<typeof ArchitectureV2>): Architecture {
  const { operations, rounding, decision, scale } = document;
  const dictionary = parseDictionary(document.dictionary);
  const label = dictionary.label.number;
  if ((decision === 'number') !== (label !== undefined) || (label === undefined) !== (scale === undefined))
    throw bad(
      'decision',
      'expected number and a scale exactly where the label of the dictionary is a number',
    );
  const number = label && scale ? { label, scale } : undefined;
  const known = { preprocessing: preprocessingOf(dictionary), classes: classNames(dictionary), number };
  const [trees] = operations;
  if (trees?.kind === 'trees' && operations.length === 1)
    return { version: 2, dictionary, ...known, layers: [], trees, rounding, decision };
  if (operations.every(isTensorOperation)) {
    const tensors = operations as TensorOperation[];
    return { version: 2, dictionary, ...known, layers: [], tensors, rounding, decision };
  }
  const layers: LayerShape[] = [];
  if (operations.length > MAX_LAYER_OPERATIONS)
    throw bad('operations', `expected at most ${MAX_LAYER_OPERATIONS} of dense layers`);
  operations.forEach((operation, i) => {
    const last = i === operations.length - 1;
    const expected = i % 2 === 0 ? 'dense' : 'relu';
    if (operation.kind !== expected || (last && expected === 'relu'))
      throw bad(
        `operations.${i}`,
        'expected dense and relu in turns, and dense at the end, or trees or operations on tensors alone',
      );
    if (operation.kind !== 'dense') return;
    const { kind, ...shape } = operation;
    const next = operations[i + 1];
    layers.push(
      next?.kind === 'relu'
        ? { ...shape, shift: next.shift, output: next.output }
        : { ...shape, shift: 0, output: shape.accumulator },
    );
  });
  return {
    version: 2,
    dictionary,
    ...known,
    layers,
    rounding,
    decision,
  };
}

/** An architecture as it is published, committed to and parsed again. */
export function architectureDocument(architecture: Architecture): Record<string, unknown> {
  const { version, dictionary, preprocessing, layers, trees, tensors, rounding, decision, classes, number } =
    architecture;
  if (version === 3) {
    const { inputs, exponent, outputs, outputExponent } = architecture.named!;
    return { version, inputs, exponent, operations: tensors, outputs, outputExponent, rounding };
  }
  const end = number ? { decision, scale: number.scale } : { decision };
  if (tensors) return { version, dictionary, operations: tensors, rounding, ...end };
  if (trees) return { version, dictionary, operations: [trees], rounding, ...end };
  if (version === 1) return { version, preprocessing, layers, rounding, decision, classes };
  const operations = layers.flatMap(({ shift, output, ...dense }): Operation[] =>
    shift > 0
      ? [
          { kind: 'dense', ...dense },
          { kind: 'relu', shift, output },
        ]
      : [{ kind: 'dense', ...dense }],
  );
  return { version, dictionary, operations, rounding, ...end };
}

/** What an answer says: a class by its name, a number in the label's own unit; undefined: it is no answer of this model. */
export function answerName({ classes, number }: Architecture, answer: number): string | undefined {
  if (!number) return classes[answer];
  const { low, high } = number.label;
  return Number.isInteger(answer) && answer >= low && answer <= high
    ? decimalOf(answer, number.label)
    : undefined;
}

/** How many signs are looked at to see whether an answer is right. */
export const checksOf = ({ classes, decision }: Architecture): number =>
  decision === 'number' ? 2 : classes.length - 1;

/** The digest of the dictionary that a model is published with; undefined: it has none (version 1). */
export const modelDictionaryDigest = ({ dictionary }: Architecture): string | undefined =>
  dictionary && dictionaryDigest(dictionary);

/** How many numbers a model gives for a row, each below 2^24. */
export const outputsOf = ({ layers, trees, tensors, preprocessing }: Architecture): number =>
  tensors
    ? laidOut(tensors, featureRanges(preprocessing).length).at(-1)!.size
    : trees
      ? trees.outputs
      : layers.at(-1)!.outputs;

/** How far they may be from 0. */
export function outputBound({ layers, trees, tensors, preprocessing }: Architecture): number {
  if (tensors) return greatest(checkTensors(tensors, featureRanges(preprocessing), bad).at(-1)!);
  return trees ? trees.accumulator : layers.at(-1)!.output;
}

function checkShapes(architecture: Architecture): void {
  const { classes, decision, layers, trees, tensors, preprocessing } = architecture;
  if (decision !== 'tensor')
    checkColumns(preprocessing.columns, (field, message) =>
      bad(field === 'columns' ? 'preprocessing' : field, message),
    );
  if (new Set(classes).size < classes.length) throw bad('classes', 'two classes have the same name');
  let ranges = featureRanges(preprocessing);
  let parameters = 0;
  if (trees) checkTrees(trees, ranges, bad);
  if (tensors) {
    checkTensors(tensors, ranges, bad);
    parameters = convsOf(tensors).reduce((sum, conv) => sum + weightsOf(conv) + conv.outputs, 0);
  }
  layers.forEach((layer, l) => {
    const last = l === layers.length - 1;
    const field = `layers.${l}`;
    if (layer.inputs !== ranges.length)
      throw bad(`${field}.inputs`, `expected ${ranges.length}, got ${layer.inputs}`);
    if (last ? layer.shift !== 0 : layer.shift < 1)
      throw bad(`${field}.shift`, 'expected 0 on the last layer, else at least 1');
    const bounds = layerBounds(layer, ranges);
    if (layer.accumulator !== bounds.accumulator || layer.output !== bounds.output) {
      throw bad(field, `expected accumulator ${bounds.accumulator} and output ${bounds.output}`);
    }
    parameters += layer.outputs * (layer.inputs + 1);
    ranges = outputRanges(layer);
  });
  if (parameters > MAX_PARAMETERS)
    throw bad('layers', `${parameters} parameters, more than ${MAX_PARAMETERS}`);
  if (decision === 'tensor') return;
  const outputs = decision === 'argmax' ? classes.length : 1;
  if (outputsOf(architecture) !== outputs)
    throw bad('layers', `expected ${outputs} outputs of the last layer, got ${outputsOf(architecture)}`);
  if (decision === 'sign' && classes.length !== 2) throw bad('classes', `expected 2, got ${classes.length}`);
}

/** The bounds of a layer over all parameters of its widths and all inputs in the given ranges. */
export function layerBounds(
  layer: Pick<LayerShape, 'weightBits' | 'biasBits' | 'shift'>,
  ranges: readonly Range[],
): { accumulator: number; output: number } {
  const accumulator = accumulatorBound(
    layer,
    ranges.reduce((sum, { low, high }) => sum + Math.max(Math.abs(low), Math.abs(high)), 0),
  );
  return { accumulator, output: layer.shift > 0 ? Math.floor(accumulator / 2 ** layer.shift) : accumulator };
}

/** The bound on an accumulator where the inputs' absolute values sum to at most `inputSum`. */
export function accumulatorBound(
  { weightBits, biasBits, shift }: Pick<LayerShape, 'weightBits' | 'biasBits' | 'shift'>,
  inputSum: number,
): number {
  return inputSum * 2 ** (weightBits - 1) + 2 ** (biasBits - 1) + (shift > 0 ? 2 ** (shift - 1) : 0);
}

/** What a hidden layer hands to the next one: 0 up to its bound. */
export const outputRanges = ({ outputs, output }: LayerShape): Range[] =>
  Array.from({ length: outputs }, () => ({ low: 0, high: output }));

export const architectureBytes = (architecture: Architecture): Uint8Array =>
  encode(architectureDocument(architecture), rfc8949EncodeOptions);

/** Lower-case hex SHA-256 of the canonical bytes. */
export const architectureDigest = (architecture: Architecture): string =>
  bytesToHex(sha256(architectureBytes(architecture)));

/** The digest as an element of BN254's scalar field. */
export const architectureElement = (architecture: Architecture): bigint =>
  bn254.fields.Fr.create(BigInt(`0x${architectureDigest(architecture)}`));

const bad = (field: string, message: string): VouchError =>
  new VouchError('bad-input', `architecture: ${field}: ${message}`);

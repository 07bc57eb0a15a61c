/**
 * The circuit of a quality proof, as circom source, and the input for its witness.
 *
 * Statement: "I know parameters and a salt that open `commitment` under this architecture, and they classify
 * at least `threshold` of these rows correctly", which of a model that answers numbers is so many steps from the label or
 * fewer. The test set is a constant of the circuit, so the first
 * layer is linear in the hidden parameters and costs no constraint; the price is one key per test set. The
 * source is a pure function of architecture and test set: a verifier emits it again and compares digests.
 *
 * Public signals, in this order: commitment, threshold.
 * Bounds are taken per row, from its features and the public bit widths, and never from hidden values.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js';
import { type Architecture, accumulatorBound, architectureElement } from './architecture.ts';
import { packedLayers } from './circom-writer.ts';
import {
  COMMITMENT_VERSION,
  type CommittedModel,
  commit,
  elementsFor,
  flatParameters,
  parameterWidths,
  saltElement,
} from './commit.ts';
import { numberHead } from './emit-number.ts';
import { tensorsSource } from './emit-tensors.ts';
import { treesSource } from './emit-trees.ts';
import { convsOf, weightsOf } from './tensors.ts';
import { checkTestSet, type TestSet } from './test-set.ts';
import { treesOf } from './trees.ts';

/** What the emitted source is compiled with and against; part of the circuit's digest. */
export interface Toolchain {
  /** name, version and options that decide the constraints, such as `circom2 0.2.23 --O2` */
  readonly compiler: string;
  /** text of every included file by its include path */
  readonly templates: ReadonlyMap<string, string>;
}

export interface EmittedCircuit {
  readonly source: string;
  /** lower-case hex SHA-256 over compiler, source and templates (see `circuitDigest`) */
  readonly digest: string;
  readonly rows: number;
}

/** Throws `bad-input` when the test set does not fit the architecture. */
export function emitQualityCircuit(
  architecture: Architecture,
  testSet: TestSet,
  toolchain: Toolchain,
): EmittedCircuit {
  checkTestSet(architecture, testSet);
  const { trees, tensors } = architecture;
  const source = trees
    ? treesSource(architecture, trees, testSet)
    : tensors
      ? tensorsSource(architecture, tensors, testSet)
      : qualitySource(architecture, testSet);
  return { source, digest: circuitDigest(source, toolchain), rows: testSet.labels.length };
}

/**
 * SHA-256 over, in this order, the compiler, the source, and path and text by ascending path of each template that the
 * source includes, directly or by another one; each UTF-8 text is preceded by its length in bytes as a decimal number and a line feed.
 */
export function circuitDigest(source: string, { compiler, templates }: Toolchain): string {
  const used = included(source, templates);
  const hash = sha256.create();
  const add = (text: string): void => {
    const bytes = utf8ToBytes(text);
    hash.update(utf8ToBytes(`${bytes.length}\n`)).update(bytes);
  };
  add(compiler);
  add(source);
  for (const [path, text] of [...used].sort(([a], [b]) => (a < b ? -1 : 1))) {
    add(path);
    add(text);
  }
  return bytesToHex(hash.digest());
}

/** A circuit's digest stays what it is when there are templates for others. */
function included(source: string, templates: Toolchain['templates']): Map<string, string> {
  const used = new Map<string, string>();
  const open = [source];
  for (let text = open.pop(); text !== undefined; text = open.pop()) {
    for (const [, path] of text.matchAll(/^include "\.?\/?([^"]+)";/gm)) {
      const found = [...templates].find(([name]) => name === path || name === `circomlib/${path}`);
      if (!found || used.has(found[0])) continue;
      used.set(...found);
      open.push(found[1]);
    }
  }
  return used;
}

function qualitySource(architecture: Architecture, testSet: TestSet): string {
  const { features, labels } = testSet;
  const { layers, classes, decision, number } = architecture;
  const rows = labels.length;
  const last = layers.length - 1;
  const margins = classes.length - 1;
  const bounds = features.map((row) => rowBounds(architecture, row));
  // A margin is the difference of two accumulators, less 1 on one side.
  const marginBits = bounds.map((bound) => signedBits(2 * bound[last]! + 1));
  const widths = parameterWidths(architecture);
  const elements = elementsFor(widths);
  const lines: string[] = [];
  const add = (...text: string[]): void =>
    void lines.push(...text.map((line) => (line ? `    ${line}` : '')));

  layers.forEach(({ inputs, outputs }, l) => {
    add(`signal input w${l}[${outputs}][${inputs}];`, `signal input b${l}[${outputs}];`);
  });

  add('', '// The parameters are those of the commitment, each in its range.');
  add(...packedLayers(layers, widths.length, elements));
  add(
    `component opened = ModelCommitment(${COMMITMENT_VERSION}, ${architectureElement(architecture)}, ${elements});`,
    'opened.salt <== salt;',
    'opened.element <== packed.element;',
    'commitment === opened.out;',
  );

  add('', '// Layer 0 on all rows.');
  add(
    `component dense0 = DenseConstant(${rows}, ${layers[0]!.inputs}, ${layers[0]!.outputs}, features());`,
    'dense0.w <== w0;',
    'dense0.b <== b0;',
  );
  const constantLast = last === 0;
  if (!constantLast && decision === 'argmax') {
    const { inputs } = layers[last]!;
    add('', '// The last layer gives margins: one copy of its weights per right class.');
    for (let c = 0; c < classes.length; c++) {
      if (!labels.includes(c)) continue;
      add(
        `component margins${c} = MarginLayer(${inputs}, ${classes.length}, ${c});`,
        `margins${c}.w <== w${last};`,
        `margins${c}.b <== b${last};`,
      );
    }
  }

  add('', '// The other layers, row by row.', `component atLeast = AtLeast(${rows}, ${bitLength(rows)});`);
  for (let l = 0; l < last; l++) {
    add(`var bits${l}[${rows}] = [${bounds.map((bound) => signedBits(bound[l]!))}];`);
    add(`component hidden${l}[${rows}];`);
  }
  for (let l = 1; l <= last; l++) add(`component dense${l}[${rows}];`);
  if (!number)
    add(`var label[${rows}] = [${labels.join(',')}];`, `var marginBits[${rows}] = [${marginBits}];`);
  if (constantLast && decision === 'argmax') add(`component margins[${rows}];`);
  if (!number) add(`component decided[${rows}];`);
  add(`for (var r = 0; r < ${rows}; r++) {`);
  for (let l = 0; l < last; l++) {
    const { outputs, shift } = layers[l]!;
    const next = layers[l + 1]!;
    add(
      `    hidden${l}[r] = RequantiseRelu(${outputs}, bits${l}[r], ${shift});`,
      `    hidden${l}[r].in <== ${l === 0 ? 'dense0.out[r]' : `dense${l}[r].out`};`,
    );
    const toMargins = l + 1 === last && decision === 'argmax';
    add(
      `    dense${l + 1}[r] = DenseSignal(${next.inputs}, ${toMargins ? margins : next.outputs});`,
      `    dense${l + 1}[r].x <== hidden${l}[r].out;`,
    );
    if (!toMargins) add(`    dense${l + 1}[r].w <== w${l + 1};`, `    dense${l + 1}[r].b <== b${l + 1};`);
    else {
      const present = classes.map((_, c) => c).filter((c) => labels.includes(c));
      for (const c of present) {
        add(
          `    if (label[r] == ${c}) {`,
          `        dense${last}[r].w <== margins${c}.marginW;`,
          `        dense${last}[r].b <== margins${c}.marginB;`,
          '    }',
        );
      }
    }
  }
  const output = constantLast ? 'dense0.out[r]' : `dense${last}[r].out`;
  if (!number) add(`    decided[r] = Decided(${classes.length}, label[r], marginBits[r]);`);
  if (number) {
    const bits = (r: number): number => marginBits[r]!;
    const bound = (r: number): number => bounds[r]![last]!;
    add('}', ...numberHead(number, testSet, { bound, bits, output: `${output}[0]` }));
  } else if (decision === 'sign') {
    // The logits are 0 and the output.
    add(`    decided[r].margin[0] <== (2 * label[r] - 1) * ${output}[0];`);
  } else if (constantLast) {
    add(
      `    margins[r] = Margins(${classes.length}, label[r]);`,
      `    margins[r].logit <== ${output};`,
      '    decided[r].margin <== margins[r].margin;',
    );
  } else add(`    decided[r].margin <== ${output};`);
  if (!number) add('    atLeast.right[r] <== decided[r].right;', '}');
  add('atLeast.threshold <== threshold;');

  return [
    'pragma circom 2.1.6;',
    '',
    'include "commitment.circom";',
    'include "dense.circom";',
    'include "requantise.circom";',
    'include "decision.circom";',
    ...(number ? ['include "within.circom";'] : []),
    '',
    '// The test set: one row of features per line.',
    'function features() {',
    '    return [',
    features.map((row) => `        [${Array.from(row).join(',')}]`).join(',\n'),
    '    ];',
    '}',
    '',
    'template Quality() {',
    '    signal input commitment;',
    '    signal input threshold;',
    '    signal input salt;',
    ...lines,
    '}',
    '',
    'component main {public [commitment, threshold]} = Quality();',
    '',
  ].join('\n');
}

/** For each layer, the bound on its accumulators for one row of constant features. */
export function rowBounds({ layers }: Architecture, features: ArrayLike<number>): number[] {
  let inputSum = Array.from(features).reduce((sum, x) => sum + Math.abs(x), 0);
  return layers.map((layer) => {
    const bound = accumulatorBound(layer, inputSum);
    inputSum = layer.outputs * Math.floor(bound / 2 ** layer.shift);
    return bound;
  });
}

/** Bits of a non-negative integer. */
const bitLength = (n: number): number => n.toString(2).length;

/** n with |value| <= bound < 2^(n-1). */
const signedBits = (bound: number): number => bitLength(bound) + 1;

/** Signals of the circuit by name, as its witness calculator takes them; negative numbers are field elements mod r. */
export type CircuitInput = Readonly<Record<string, bigint | readonly bigint[]>>;

/** The input of the quality circuit. Holds the hidden parameters: a secret. */
export const witnessInput = (model: CommittedModel, threshold: number): CircuitInput => ({
  ...parameterInput(model),
  threshold: BigInt(threshold),
});

/** What opens a model's commitment, and the commitment: a secret. */
export function parameterInput(model: CommittedModel): CircuitInput {
  const input: Record<string, bigint | bigint[]> = {
    commitment: commit(model),
    salt: saltElement(model.salt),
  };
  const flat = flatParameters(model.architecture, model.parameters);
  let at = 0;
  const take = (count: number): bigint[] => {
    at += count;
    return flat.slice(at - count, at).map(BigInt);
  };
  const { layers, trees, tensors } = model.architecture;
  convsOf(tensors ?? []).forEach((conv, c) => {
    input[`w${c}`] = take(weightsOf(conv));
    input[`b${c}`] = take(conv.outputs);
  });
  if (trees) {
    treesOf(trees, model.parameters.trees!).forEach(({ split, leaf }, t) => {
      input[`split${t}`] = Array.from(split, BigInt);
      input[`leaf${t}`] = leaf.flatMap((values) => Array.from(values, BigInt));
    });
    input.bias = Array.from(model.parameters.trees!.bias, BigInt);
  }
  layers.forEach(({ inputs, outputs }, l) => {
    input[`w${l}`] = take(inputs * outputs);
    input[`b${l}`] = take(outputs);
  });
  return input;
}

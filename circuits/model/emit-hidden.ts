/**
 * The circuit of a proof of one answer to a hidden row, as circom source, and the input for its witness.
 *
 * Statement: "I know parameters and a salt that open `commitment` under this architecture, and a row that its dictionary allows and
 * a salt that open `row`, and the model's answer to that row is the one that the circuit names." The answer is a constant, so
 * there is one key for each answer, good for all rows. Weights times features are products of two hidden numbers.
 *
 * Public signals, in this order: commitment, row.
 */
import { type Architecture, architectureElement } from './architecture.ts';
import { packedLayers } from './circom-writer.ts';
import {
  COMMITMENT_VERSION,
  type CommittedModel,
  elementsFor,
  parameterWidths,
  saltElement,
} from './commit.ts';
import {
  type CircuitInput,
  circuitDigest,
  type EmittedCircuit,
  parameterInput,
  type Toolchain,
} from './emit.ts';
import { voteBits } from './emit-trees.ts';
import { outputsWithin } from './numbers.ts';
import { featureRanges } from './preprocessing.ts';
import { columnsElement, commitRow, type HiddenRow, ROW_COMMITMENT_VERSION, rowLayout } from './row.ts';
import { checkAnswer } from './test-set.ts';
import { candidatesOf, depthsOf, pairFor, type TreesShape, topologiesOf, treeGroups } from './trees.ts';

const list = (numbers: readonly number[]): string => `[${numbers.join(',')}]`;
const signedBits = (bound: number): number => bound.toString(2).length + 1;

/** Bits of what the answer is compared by: n with every difference below 2^(n-1). */
export const marginBits = ({ layers, trees, decision }: Architecture): number =>
  trees ? voteBits(trees, decision) : signedBits(2 * layers.at(-1)!.accumulator + 1);

/** Throws `bad-input` for what is no answer of the architecture. */
export function emitHiddenCircuit(
  architecture: Architecture,
  answer: number,
  toolchain: Toolchain,
): EmittedCircuit {
  checkAnswer(architecture, answer);
  const source = hiddenSource(architecture, answer);
  return { source, digest: circuitDigest(source, toolchain), rows: 1 };
}

function hiddenSource(architecture: Architecture, answer: number): string {
  const { preprocessing, trees } = architecture;
  const { low, span, bits, column, elements } = rowLayout(preprocessing);
  const widths = parameterWidths(architecture);
  const packed = elementsFor(widths);
  const computed = trees
    ? treesBody(architecture, trees, packed, widths.length)
    : denseBody(architecture, answer, packed, widths.length);
  const lines = [
    `signal input x[${low.length}];`,
    ...computed.declared,
    '',
    '// The row is that of the commitment, and one that the dictionary allows.',
    `component row_ = HiddenRow(${low.length}, ${list(low)}, ${list(span)}, ${list(bits)}, ${list(column)}, ${elements});`,
    'row_.x <== x;',
    `component rowOpened = ModelCommitment(${ROW_COMMITMENT_VERSION}, ${columnsElement(preprocessing)}, ${elements});`,
    'rowOpened.salt <== rowSalt;',
    'rowOpened.element <== row_.element;',
    'row === rowOpened.out;',
    '',
    '// The parameters are those of the commitment, each in its range.',
    ...computed.packed,
    `component opened = ModelCommitment(${COMMITMENT_VERSION}, ${architectureElement(architecture)}, ${packed});`,
    'opened.salt <== salt;',
    'opened.element <== packed.element;',
    'commitment === opened.out;',
    '',
    ...computed.body,
    '',
    '// The answer: what it is compared with differs by 0 or more.',
    ...answerChecks(architecture, answer, computed.outputs),
  ];
  return [
    'pragma circom 2.1.6;',
    '',
    'include "bits.circom";',
    'include "commitment.circom";',
    'include "row.circom";',
    ...(trees
      ? ['include "trees.circom";', 'include "hidden-trees.circom";']
      : ['include "dense.circom";', 'include "requantise.circom";', 'include "decision.circom";']),
    '',
    'template HiddenAnswer() {',
    '    signal input commitment;',
    '    signal input row;',
    '    signal input salt;',
    '    signal input rowSalt;',
    ...lines.map((line) => (line ? `    ${line}` : '')),
    '}',
    '',
    'component main {public [commitment, row]} = HiddenAnswer();',
    '',
  ].join('\n');
}

interface Body {
  readonly declared: readonly string[];
  readonly packed: readonly string[];
  readonly body: readonly string[];
  /** the model's outputs; of several those that a margin needs are compared, unless they are margins already */
  readonly outputs: { readonly kind: 'outputs' | 'margins'; readonly at: (index: number) => string };
}

function denseBody(architecture: Architecture, answer: number, elements: number, total: number): Body {
  const { layers, decision, classes } = architecture;
  const last = layers.length - 1;
  const margins = decision === 'argmax';
  return {
    declared: layers.flatMap(({ inputs, outputs }, l) => [
      `signal input w${l}[${outputs}][${inputs}];`,
      `signal input b${l}[${outputs}];`,
    ]),
    packed: packedLayers(layers, total, elements),
    body: layers.flatMap(({ inputs, outputs, shift, accumulator }, l) => {
      const ends = l === last && margins;
      const weights = ends ? 'margin.marginW' : `w${l}`;
      const bias = ends ? 'margin.marginB' : `b${l}`;
      return [
        ...(ends
          ? [
              '// The last layer gives margins.',
              `component margin = MarginLayer(${inputs}, ${classes.length}, ${answer});`,
              `margin.w <== w${l};`,
              `margin.b <== b${l};`,
            ]
          : []),
        `component dense${l} = DenseSignal(${inputs}, ${ends ? classes.length - 1 : outputs});`,
        `dense${l}.x <== ${l === 0 ? 'x' : `hidden${l - 1}.out`};`,
        `dense${l}.w <== ${weights};`,
        `dense${l}.b <== ${bias};`,
        ...(l === last
          ? []
          : [
              `component hidden${l} = RequantiseRelu(${outputs}, ${signedBits(accumulator)}, ${shift});`,
              `hidden${l}.in <== dense${l}.out;`,
            ]),
      ];
    }),
    outputs: { kind: margins ? 'margins' : 'outputs', at: (index) => `dense${last}.out[${index}]` },
  };
}

function treesBody(
  { preprocessing }: Architecture,
  shape: TreesShape,
  elements: number,
  total: number,
): Body {
  const candidates = candidatesOf(featureRanges(preprocessing)).length;
  const { low, span } = rowLayout(preprocessing);
  const pair = pairFor(candidates);
  const groups = treeGroups(shape, candidates);
  const topologies = topologiesOf(shape);
  const pack = (name: string, count: number): string[] => [
    `for (var i = 0; i < ${count}; i++) {`,
    `    packed.in[at] <== ${name}[i];`,
    '    at++;',
    '}',
  ];
  return {
    declared: [
      ...topologies.flatMap(({ splits }, t) => [
        `signal input split${t}[${splits}];`,
        `signal input leaf${t}[${shape.targets[t]!.length}][${splits + 1}];`,
      ]),
      `signal input bias[${shape.outputs}];`,
    ],
    packed: [
      `component packed = PackedTrees(${groups.length}, ${list(groups.map((g) => g.count))}, ` +
        `${list(groups.map((g) => g.bits))}, ${list(groups.map((g) => (g.split ? 1 : 0)))}, 0, ${total}, ${elements});`,
      'var at = 0;',
      ...topologies.flatMap(({ splits }, t) => [
        ...pack(`split${t}`, splits),
        ...shape.targets[t]!.flatMap((_, i) => pack(`leaf${t}[${i}]`, splits + 1)),
      ]),
      ...pack('bias', shape.outputs),
    ],
    body: [
      `component tests = Thermometers(${low.length}, ${list(low)}, ${list(span)}, ${candidates});`,
      'tests.x <== x;',
      `var sum[${shape.outputs}];`,
      `for (var o = 0; o < ${shape.outputs}; o++) {`,
      '    sum[o] = bias[o];',
      '}',
      ...topologies.flatMap((topology, t) => {
        const { splits, yes, no } = topology;
        const targets = shape.targets[t]!;
        const depths = depthsOf(topology);
        return [
          `component tree${t} = TreeOnHidden(${pair.high}, ${pair.low}, ${candidates}, ${targets.length}, ${splits}, ${Math.max(...depths) + 1}, ${list(depths)}, ${list(yes)}, ${list(no)});`,
          `tree${t}.held <== tests.held;`,
          `tree${t}.split <== split${t};`,
          `tree${t}.leaf <== leaf${t};`,
          ...targets.map((output, i) => `sum[${output}] += tree${t}.vote[${i}];`),
        ];
      }),
    ],
    outputs: { kind: 'outputs', at: (index) => `sum[${index}]` },
  };
}

/** What is at least 0 exactly where the model gives the answer; each is below 2^(n-1), so that its bits have one meaning. */
function answerChecks(architecture: Architecture, answer: number, { kind, at }: Body['outputs']): string[] {
  const { classes, decision, number, layers, trees } = architecture;
  const n = marginBits(architecture) - 1;
  const above = (name: string, value: string): string[] => [
    `component ${name} = Bits(${n});`,
    `${name}.in <== ${value};`,
  ];
  if (number) {
    const bound = trees ? trees.accumulator : layers.at(-1)!.output;
    const { low, high } = outputsWithin(answer, 0, number, bound);
    return [...above('least', `${at(0)} - (${low})`), ...above('most', `${high} - ${at(0)}`)];
  }
  // Class 0 on a tie, else the sum is above 0.
  if (decision === 'sign') return above('margin0', answer === 0 ? `0 - ${at(0)}` : `${at(0)} - 1`);
  return Array.from({ length: classes.length - 1 }, (_, m) => {
    const other = m < answer ? m : m + 1;
    const value = kind === 'margins' ? at(m) : `${at(answer)} - ${at(other)}`;
    return above(`margin${m}`, `${value} - ${m < answer ? 1 : 0}`);
  }).flat();
}

/** The input of the circuit. Holds the hidden parameters and the row: a secret. */
export function hiddenInput(model: CommittedModel, row: HiddenRow): CircuitInput {
  return {
    ...parameterInput(model),
    row: commitRow(model.architecture.preprocessing, row),
    rowSalt: saltElement(row.salt),
    x: Array.from(row.features, BigInt),
  };
}

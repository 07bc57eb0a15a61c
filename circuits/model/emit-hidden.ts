/**
 * The circuit of a proof of one answer to a hidden row, as circom source, and the input for its witness.
 *
 * Statement: "I know parameters and a salt that open `commitment` under this architecture, and a row that its dictionary allows and
 * a salt that open `row`, and the model's answer to that row is the one that the circuit names." The answer is a constant, so
 * there is one key for each answer, good for all rows. Weights times features are products of two hidden numbers. Of a model of
 * tensors the row is all its inputs side by side, and the answer all numbers of its outputs.
 *
 * Public signals, in this order: commitment, row.
 */
import { type Architecture, architectureElement, outputBound } from './architecture.ts';
import { createWriter, indented, packedLayers } from './circom-writer.ts';
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
import { writeHidden, writeOutputs } from './emit-tensors.ts';
import { voteBits } from './emit-trees.ts';
import { outputsWithin } from './numbers.ts';
import { featureRanges } from './preprocessing.ts';
import { columnsElement, commitRow, type HiddenRow, ROW_COMMITMENT_VERSION, rowLayout } from './row.ts';
import { hiddenPlan, outputReach, widestMargin } from './tensor-plan.ts';
import type { TensorOperation } from './tensors.ts';
import { checkAnswer, type OneAnswer } from './test-set.ts';
import { candidatesOf, depthsOf, pairFor, type TreesShape, topologiesOf, treeGroups } from './trees.ts';

const list = (numbers: readonly number[]): string => `[${numbers.join(',')}]`;
const signedBits = (bound: number): number => bound.toString(2).length + 1;

/** Bits of what the answer is compared by: n with every difference below 2^(n-1). */
export function marginBits(architecture: Architecture): number {
  const { layers, trees, tensors, decision } = architecture;
  if (tensors) return widestMargin(hiddenPlan(architecture, tensors).values.at(-1)!, architecture);
  return trees ? voteBits(trees, decision) : signedBits(2 * layers.at(-1)!.accumulator + 1);
}

/** Throws `bad-input` for what is no answer of the architecture. */
export function emitHiddenCircuit(
  architecture: Architecture,
  answer: OneAnswer,
  toolchain: Toolchain,
): EmittedCircuit {
  checkAnswer(architecture, answer);
  const source = hiddenSource(architecture, answer);
  return { source, digest: circuitDigest(source, toolchain), rows: 1 };
}

function hiddenSource(architecture: Architecture, answer: OneAnswer): string {
  const { low, span, bits, column, elements } = rowLayout(architecture.preprocessing);
  const { declared, templates, functions = [], body } = bodyOf(architecture, answer);
  const lines = [
    `signal input x[${low.length}];`,
    ...declared,
    '',
    '// The row is that of the commitment, and one that the dictionary allows.',
    `component row_ = HiddenRow(${low.length}, ${list(low)}, ${list(span)}, ${list(bits)}, ${list(column)}, ${elements});`,
    'row_.x <== x;',
    `component rowOpened = ModelCommitment(${ROW_COMMITMENT_VERSION}, ${columnsElement(architecture)}, ${elements});`,
    'rowOpened.salt <== rowSalt;',
    'rowOpened.element <== row_.element;',
    'row === rowOpened.out;',
    '',
    ...body,
  ];
  return [
    'pragma circom 2.1.6;',
    '',
    'include "bits.circom";',
    'include "commitment.circom";',
    'include "row.circom";',
    ...templates.map((name) => `include "${name}.circom";`),
    '',
    ...functions,
    'template HiddenAnswer() {',
    '    signal input commitment;',
    '    signal input row;',
    '    signal input salt;',
    '    signal input rowSalt;',
    ...indented(lines),
    '}',
    '',
    'component main {public [commitment, row]} = HiddenAnswer();',
    '',
  ].join('\n');
}

/** What a kind of model adds. */
interface Body {
  readonly declared: readonly string[];
  readonly templates: readonly string[];
  readonly functions?: readonly string[] | undefined;
  /** parameters, what is computed with them, and the answer */
  readonly body: readonly string[];
}

/** The model's outputs; of several those that a margin needs are compared, unless they are margins already. */
interface Outputs {
  readonly kind: 'outputs' | 'margins';
  readonly at: (index: number) => string;
}

const ANSWER = '// The answer: what it is compared with differs by 0 or more.';

function bodyOf(architecture: Architecture, answer: OneAnswer): Body {
  const { trees, tensors } = architecture;
  if (tensors) return tensorsBody(architecture, tensors, answer);
  if (typeof answer !== 'number') throw new RangeError('expected a class or a number as the answer');
  const widths = parameterWidths(architecture);
  const elements = elementsFor(widths);
  const { declared, templates, packed, computed, outputs } = trees
    ? treesBody(architecture, trees, elements, widths.length)
    : denseBody(architecture, answer, elements, widths.length);
  return {
    declared,
    templates,
    body: [
      '// The parameters are those of the commitment, each in its range.',
      ...packed,
      `component opened = ModelCommitment(${COMMITMENT_VERSION}, ${architectureElement(architecture)}, ${elements});`,
      'opened.salt <== salt;',
      'opened.element <== packed.element;',
      'commitment === opened.out;',
      '',
      ...computed,
      '',
      ANSWER,
      ...answerChecks(architecture, answer, outputs),
    ],
  };
}

function tensorsBody(
  architecture: Architecture,
  tensors: readonly TensorOperation[],
  answer: OneAnswer,
): Body {
  const writer = createWriter();
  const { output, elements } = writeHidden(writer, architecture, tensors);
  writer.add('');
  if (typeof answer === 'number')
    writer.add(
      ANSWER,
      ...answerChecks(architecture, answer, { kind: 'outputs', at: (index) => `${output}[${index}]` }),
    );
  else writeOutputs(writer, output, elements, answer);
  return {
    declared: [],
    templates: ['conv', 'max', 'rescale'],
    functions: writer.functions(),
    body: writer.lines,
  };
}

interface Parts extends Pick<Body, 'declared' | 'templates'> {
  readonly packed: readonly string[];
  readonly computed: readonly string[];
  readonly outputs: Outputs;
}

function denseBody(architecture: Architecture, answer: number, elements: number, total: number): Parts {
  const { layers, decision, classes } = architecture;
  const last = layers.length - 1;
  const margins = decision === 'argmax';
  return {
    declared: layers.flatMap(({ inputs, outputs }, l) => [
      `signal input w${l}[${outputs}][${inputs}];`,
      `signal input b${l}[${outputs}];`,
    ]),
    templates: ['dense', 'requantise', 'decision'],
    packed: packedLayers(layers, total, elements),
    computed: layers.flatMap(({ inputs, outputs, shift, accumulator }, l) => {
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
): Parts {
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
    templates: ['trees', 'hidden-trees'],
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
    computed: [
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
function answerChecks(architecture: Architecture, answer: number, { kind, at }: Outputs): string[] {
  const { classes, decision, number } = architecture;
  const n = marginBits(architecture) - 1;
  const above = (name: string, value: string): string[] => [
    `component ${name} = Bits(${n});`,
    `${name}.in <== ${value};`,
  ];
  if (number) {
    const { low, high } = outputsWithin(answer, 0, number, numberBound(architecture));
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

/** How far from 0 the output of which a number is made may be: of tensors their plan knows it better than the architecture. */
function numberBound(architecture: Architecture): number {
  const { tensors } = architecture;
  return tensors ? outputReach(hiddenPlan(architecture, tensors).values.at(-1)!) : outputBound(architecture);
}

/** The input of the circuit. Holds the hidden parameters and the row: a secret. */
export function hiddenInput(model: CommittedModel, row: HiddenRow): CircuitInput {
  return {
    ...parameterInput(model),
    row: commitRow(model.architecture, row),
    rowSalt: saltElement(row.salt),
    x: Array.from(row.features, BigInt),
  };
}

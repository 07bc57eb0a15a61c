/** The circuit of a quality proof about an ensemble of trees, as circom source (emit.ts says what it states). */
import { type Architecture, architectureElement } from './architecture.ts';
import { COMMITMENT_VERSION, parameterWidths, placements } from './commit.ts';
import { featureRanges } from './preprocessing.ts';
import type { TestSet } from './test-set.ts';
import { candidateStarts, candidatesOf, heldBy, type TreesShape, topologiesOf, treeGroups } from './trees.ts';

/** Bits of a signed difference of an output and a bit. */
export const voteBits = ({ accumulator }: TreesShape, decision: Architecture['decision']): number =>
  ((decision === 'sign' ? accumulator : 2 * accumulator) + 1).toString(2).length + 1;

const list = (numbers: readonly number[]): string => `[${numbers.join(',')}]`;

export function treesSource(
  architecture: Architecture,
  shape: TreesShape,
  { features, labels }: TestSet,
): string {
  const ranges = featureRanges(architecture.preprocessing);
  const { classes, decision } = architecture;
  const candidates = candidatesOf(ranges);
  const rows = labels.length;
  const held = features.map((row) => heldBy(ranges, row));
  const most = held.reduce((most, each) => Math.max(most, each.length), 1);
  const S = candidates.length;
  const topologies = topologiesOf(shape);
  const groups = treeGroups(shape, S);
  const widths = parameterWidths(architecture);
  const elements = placements(widths).at(-1)!.element + 1;
  const lines: string[] = [];
  const add = (...text: string[]): void =>
    void lines.push(...text.map((line) => (line ? `    ${line}` : '')));

  topologies.forEach(({ splits }, t) => {
    add(
      `signal input split${t}[${splits}];`,
      `signal input leaf${t}[${shape.targets[t]!.length}][${splits + 1}];`,
    );
  });
  add(`signal input bias[${shape.outputs}];`);
  add(
    '',
    '// The parameters are those of the commitment: leaves and biases in their ranges, splits as Split has them.',
  );
  add(
    `component packed = PackedTrees(${groups.length}, ${list(groups.map((g) => g.count))}, ` +
      `${list(groups.map((g) => g.bits))}, ${list(groups.map((g) => (g.split ? 1 : 0)))}, ${widths.length}, ${elements});`,
    'var at = 0;',
  );
  const pack = (name: string, count: number): void =>
    add(`for (var i = 0; i < ${count}; i++) {`, `    packed.in[at] <== ${name}[i];`, '    at++;', '}');
  topologies.forEach(({ splits }, t) => {
    pack(`split${t}`, splits);
    shape.targets[t]!.forEach((_, i) => {
      pack(`leaf${t}[${i}]`, splits + 1);
    });
  });
  pack('bias', shape.outputs);
  add(
    `component opened = ModelCommitment(${COMMITMENT_VERSION}, ${architectureElement(architecture)}, ${elements});`,
    'opened.salt <== salt;',
    'opened.element <== packed.element;',
    'commitment === opened.out;',
  );

  add('', '// Every tree on all rows, and the sums that they add to.');
  add(
    `var sum[${rows}][${shape.outputs}];`,
    `for (var r = 0; r < ${rows}; r++) {`,
    `    for (var o = 0; o < ${shape.outputs}; o++) {`,
    '        sum[r][o] = bias[o];',
    '    }',
    '}',
  );
  topologies.forEach(({ splits, yes, no }, t) => {
    const targets = shape.targets[t]!;
    add(
      `component tree${t} = TreeOnRows(${rows}, ${most}, held(), ${S}, starts(), ${targets.length}, ${splits}, ${list(yes)}, ${list(no)});`,
      `tree${t}.split <== split${t};`,
      `tree${t}.leaf <== leaf${t};`,
      `for (var r = 0; r < ${rows}; r++) {`,
      ...targets.map((output, i) => `    sum[r][${output}] += tree${t}.vote[${i}][r];`),
      '}',
    );
  });

  const n = voteBits(shape, decision);
  add(
    '',
    '// The class of each row.',
    `var label[${rows}] = ${list(labels)};`,
    `component atLeast = AtLeast(${rows}, ${rows.toString(2).length});`,
    `component decided[${rows}];`,
    ...(decision === 'sign' ? [] : [`component margins[${rows}];`]),
    `for (var r = 0; r < ${rows}; r++) {`,
    `    decided[r] = Decided(${classes.length}, label[r], ${n});`,
  );
  if (decision === 'sign') add('    decided[r].margin[0] <== (2 * label[r] - 1) * sum[r][0];');
  else
    add(
      `    margins[r] = Margins(${classes.length}, label[r]);`,
      `    for (var o = 0; o < ${shape.outputs}; o++) {`,
      '        margins[r].logit[o] <== sum[r][o];',
      '    }',
      '    decided[r].margin <== margins[r].margin;',
    );
  add('    atLeast.right[r] <== decided[r].right;', '}', 'atLeast.threshold <== threshold;');

  return [
    'pragma circom 2.1.6;',
    '',
    'include "commitment.circom";',
    'include "decision.circom";',
    'include "trees.circom";',
    '',
    '// The test set: for each row the last candidate that holds of each feature.',
    'function held() {',
    '    return [',
    held.map((row) => `        ${list([...row, ...Array<number>(most - row.length).fill(S)])}`).join(',\n'),
    '    ];',
    '}',
    '',
    '// The first candidate of the feature of each candidate.',
    'function starts() {',
    `    return ${list(candidateStarts(candidates))};`,
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

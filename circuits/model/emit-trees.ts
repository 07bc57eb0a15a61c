/** The circuit of a quality proof about an ensemble of trees, as circom source (emit.ts says what it states). */
import { type Architecture, architectureElement } from './architecture.ts';
import { COMMITMENT_VERSION, elementsFor, parameterWidths } from './commit.ts';
import { numberHead } from './emit-number.ts';
import { featureRanges } from './preprocessing.ts';
import type { TestSet } from './test-set.ts';
import {
  candidateStarts,
  candidatesOf,
  depthsOf,
  heldBy,
  holdingOf,
  pairFor,
  type Topology,
  type TreesShape,
  topologiesOf,
  treeGroups,
} from './trees.ts';

/** Bits of a signed difference of an output and a bit. */
export const voteBits = ({ accumulator }: TreesShape, decision: Architecture['decision']): number =>
  ((decision === 'sign' ? accumulator : 2 * accumulator) + 1).toString(2).length + 1;

/** What an ensemble costs in constraints, in the way that costs less. */
export interface TreesCost {
  readonly parameters: number;
  readonly rows: number;
  /** whether rows are followed along their paths; else all splits are decided for all rows */
  readonly paths: boolean;
}

/**
 * Exactly, S candidates, two parts of a number A and B places long:
 *   all splits:  a split S + 1;    a row 1 for each split and output
 *   paths:       a split its bits; a row for each level A + B, 1 for each high part with which some candidates hold and
 *                others not, 1 for each split that has one of that level below it; and 1 for each split and output
 * and a leaf or bias its bits. Margins are the decision's, and not counted here. Without features: at most, for so many rows.
 */
export function treesCost(
  { preprocessing }: Architecture,
  shape: TreesShape,
  features: readonly ArrayLike<number>[] | { readonly rows: number },
): TreesCost {
  const candidates = candidatesOf(featureRanges(preprocessing));
  const { high, low } = pairFor(candidates.length);
  const topologies = topologiesOf(shape);
  const groups = treeGroups(shape, candidates.length);
  const widths = (split: boolean, cost: (bits: number) => number): number =>
    groups.reduce((sum, g) => (g.split === split ? sum + g.count * cost(g.bits) : sum), 0);
  const leaves = widths(false, (bits) => bits);
  const values = topologies.reduce((sum, { splits }, t) => sum + splits * shape.targets[t]!.length, 0);
  const known = new Map<Topology, { levels: number; moves: number }>();
  for (const each of topologies) if (!known.has(each)) known.set(each, pathMoves(each));
  const [levels, moves] = (['levels', 'moves'] as const).map((name) =>
    topologies.reduce((sum, each) => sum + known.get(each)![name], 0),
  ) as [number, number];
  const onPath = (row: ArrayLike<number> | undefined): number => {
    const mixed = row
      ? holdingOf(candidates, row).filter((part) => part.includes(1) && part.includes(0)).length
      : high;
    return levels * (high + low + mixed) + moves + values;
  };
  const rows = 'length' in features ? features.length : features.rows;
  const all = { parameters: leaves + widths(true, () => candidates.length + 1), rows: rows * values };
  const paths = {
    parameters: leaves + widths(true, (bits) => bits),
    rows:
      'length' in features
        ? features.reduce((sum, row) => sum + onPath(row), 0)
        : features.rows * onPath(undefined),
  };
  const fewer = paths.parameters + paths.rows < all.parameters + all.rows;
  return { ...(fewer ? paths : all), paths: fewer };
}

/**
 * Exactly, of one hidden row: a leaf, bias or split its bits; a candidate a bit, and one that is not the first of its feature
 * another constraint; a tree for each level A + B, one for each candidate, one for each high part with candidates, and what
 * following paths costs on public rows. `linear`: how many wires linear constraints take away.
 */
export function hiddenTreesCost({ preprocessing }: Architecture, shape: TreesShape) {
  const ranges = featureRanges(preprocessing);
  const candidates = candidatesOf(ranges).length;
  const { high, low } = pairFor(candidates);
  const groups = treeGroups(shape, candidates);
  const topologies = topologiesOf(shape);
  const each = topologies.map((topology, t) => {
    const { levels, moves } = pathMoves(topology);
    const parts = high + low + candidates + Math.ceil(candidates / low);
    return { levels, cost: levels * parts + moves + topology.splits * shape.targets[t]!.length };
  });
  return {
    parameters: groups.reduce((sum, { count, bits }) => sum + count * bits, 0),
    tests: 2 * candidates - ranges.filter((range) => range.high > range.low).length,
    features: ranges.length,
    trees: each.reduce((sum, { cost }) => sum + cost, 0),
    levels: each.reduce((sum, { levels }) => sum + levels, 0),
  };
}

/** Levels of a tree, and for all levels the splits above a split of that level. */
function pathMoves(topology: Topology): { levels: number; moves: number } {
  const depths = depthsOf(topology);
  const levels = Math.max(...depths) + 1;
  const reach = Array.from({ length: topology.splits }, () => new Set<number>());
  let moves = 0;
  for (let i = topology.splits - 1; i >= 0; i--) {
    for (const child of [topology.yes[i]!, topology.no[i]!])
      if (child < topology.splits) for (const level of reach[child]!) reach[i]!.add(level);
    moves += reach[i]!.size;
    reach[i]!.add(depths[i]!);
  }
  return { levels, moves };
}

const list = (numbers: readonly number[]): string => `[${numbers.join(',')}]`;

/** Whether the class of each of so many rows is its label. */
function classHead(
  { classes, decision }: Architecture,
  { outputs }: TreesShape,
  rows: number,
  n: number,
): string[] {
  const margins =
    decision === 'sign'
      ? ['    decided[r].margin[0] <== (2 * label[r] - 1) * sum[r][0];']
      : [
          `    margins[r] = Margins(${classes.length}, label[r]);`,
          `    for (var o = 0; o < ${outputs}; o++) {`,
          '        margins[r].logit[o] <== sum[r][o];',
          '    }',
          '    decided[r].margin <== margins[r].margin;',
        ];
  return [
    `component decided[${rows}];`,
    ...(decision === 'sign' ? [] : [`component margins[${rows}];`]),
    `for (var r = 0; r < ${rows}; r++) {`,
    `    decided[r] = Decided(${classes.length}, label[r], ${n});`,
    ...margins,
    '    atLeast.right[r] <== decided[r].right;',
    '}',
  ];
}

export function treesSource(architecture: Architecture, shape: TreesShape, testSet: TestSet): string {
  const { features, labels } = testSet;
  const ranges = featureRanges(architecture.preprocessing);
  const { decision, number } = architecture;
  const candidates = candidatesOf(ranges);
  const rows = labels.length;
  const { paths } = treesCost(architecture, shape, features);
  const held = features.map((row) => heldBy(ranges, row));
  const pair = pairFor(candidates.length);
  const most = held.reduce((most, each) => Math.max(most, each.length), 1);
  const S = candidates.length;
  const topologies = topologiesOf(shape);
  const groups = treeGroups(shape, S);
  const widths = parameterWidths(architecture);
  const elements = elementsFor(widths);
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
  add('', '// The parameters are those of the commitment, each in its range.');
  add(
    `component packed = PackedTrees(${groups.length}, ${list(groups.map((g) => g.count))}, ` +
      `${list(groups.map((g) => g.bits))}, ${list(groups.map((g) => (g.split ? 1 : 0)))}, ${paths ? 0 : 1}, ${widths.length}, ${elements});`,
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
  topologies.forEach((topology, t) => {
    const { splits, yes, no } = topology;
    const targets = shape.targets[t]!;
    const depths = depthsOf(topology);
    const tree = `${targets.length}, ${splits}`;
    add(
      paths
        ? `component tree${t} = TreeOnPaths(${rows}, holding(), ${pair.high}, ${pair.low}, ${S}, ${tree}, ${Math.max(...depths) + 1}, ${list(depths)}, ${list(yes)}, ${list(no)});`
        : `component tree${t} = TreeOnRows(${rows}, ${most}, held(), ${S}, starts(), ${tree}, ${list(yes)}, ${list(no)});`,
      `tree${t}.split <== split${t};`,
      `tree${t}.leaf <== leaf${t};`,
      `for (var r = 0; r < ${rows}; r++) {`,
      ...targets.map((output, i) => `    sum[r][${output}] += tree${t}.vote[${i}][r];`),
      '}',
    );
  });

  const n = voteBits(shape, decision);
  const count = `component atLeast = AtLeast(${rows}, ${rows.toString(2).length});`;
  if (number) {
    const of = { bound: () => shape.accumulator, bits: () => n, output: 'sum[r][0]' };
    add('', '// Which rows are right.', count, ...numberHead(number, testSet, of));
  } else {
    add('', '// The class of each row.', `var label[${rows}] = ${list(labels)};`, count);
    add(...classHead(architecture, shape, rows, n));
  }
  add('atLeast.threshold <== threshold;');

  return [
    'pragma circom 2.1.6;',
    '',
    'include "commitment.circom";',
    'include "decision.circom";',
    'include "trees.circom";',
    ...(number ? ['include "within.circom";'] : []),
    '',
    ...(paths
      ? [
          '// The test set: for each row which candidates hold, by the two parts of their numbers.',
          'function holding() {',
          '    return [',
          features.map((row) => `        [${holdingOf(candidates, row).map(list)}]`).join(',\n'),
          '    ];',
          '}',
        ]
      : [
          '// The test set: for each row the last candidate that holds of each feature.',
          'function held() {',
          '    return [',
          held
            .map((row) => `        ${list([...row, ...Array<number>(most - row.length).fill(S)])}`)
            .join(',\n'),
          '    ];',
          '}',
          '',
          '// The first candidate of the feature of each candidate.',
          'function starts() {',
          `    return ${list(candidateStarts(candidates))};`,
          '}',
        ]),
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

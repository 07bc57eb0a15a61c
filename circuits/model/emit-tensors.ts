/** The circuit of a network of tensors, as circom source (emit.ts says what is stated, tensor-plan.ts what is known). */
import { VouchError } from '../../protocols/errors.ts';
import { type Architecture, architectureElement } from './architecture.ts';
import { createWriter, packedLayers, type Writer } from './circom-writer.ts';
import { COMMITMENT_VERSION, elementsFor, parameterWidths } from './commit.ts';
import { numberHead } from './emit-number.ts';
import {
  type Classes,
  type Elements,
  groupOf,
  hiddenPlan,
  isCapped,
  isLive,
  marginBits,
  outputReach,
  type Plan,
  pointRanges,
  tensorPlan,
} from './tensor-plan.ts';
import {
  convsOf,
  type Laid,
  type LaidConv,
  type LaidMax,
  type LaidProduct,
  type LaidSum,
  type Rescale,
  type TensorOperation,
  tapsOf,
} from './tensors.ts';
import type { TestSet } from './test-set.ts';

export function tensorsSource(
  architecture: Architecture,
  operations: readonly TensorOperation[],
  testSet: TestSet,
): string {
  const { features, labels, outputs } = testSet;
  const { classes, decision, number } = architecture;
  const rows = labels.length;
  const writer = createWriter();
  const { add } = writer;
  const count = bitLength(rows);
  writeParameters(writer, architecture, operations);
  add('', '// The class of each row.', `component atLeast = AtLeast(${rows}, ${count});`);
  if (number) add(`signal number[${rows}];`);
  const ends: Elements[] = [];
  features.forEach((row, r) => {
    add('', `// Row ${r + 1}.`);
    const { output, elements } = writeRow(writer, tensorPlan(operations, pointRanges(row)), r);
    if (outputs) {
      writeOutputs(writer, output, elements, outputs[r]!);
      add(`atLeast.right[${r}] <== 1;`);
      return;
    }
    if (number) {
      ends.push(elements);
      add(`number[${r}] <== ${output}[0];`);
      return;
    }
    const label = labels[r]!;
    const decided = `decided${r}`;
    add(
      `component ${decided} = Decided(${classes.length}, ${label}, ${marginBits(elements, decision, label)});`,
    );
    if (decision === 'sign') add(`${decided}.margin[0] <== ${2 * label - 1} * ${output}[0];`);
    else {
      add(`component margins${r} = Margins(${classes.length}, ${label});`);
      writer.copy(
        classes.length,
        (e) => `margins${r}.logit[${e}]`,
        (e) => `${output}[${e}]`,
      );
      add(`${decided}.margin <== margins${r}.margin;`);
    }
    add(`atLeast.right[${r}] <== ${decided}.right;`);
  });
  if (number)
    add(
      ...numberHead(number, testSet, {
        bound: (r) => outputReach(ends[r]!),
        bits: (r) => marginBits(ends[r]!, decision, labels[r]!),
        output: 'number[r]',
      }),
    );
  add('atLeast.threshold <== threshold;');
  return writer.source(['commitment', 'threshold'], number ? ['within'] : []);
}

/** A network on a row that is hidden, whose features are the signal `x`: its last value, by name and plan. */
export function writeHidden(
  writer: Writer,
  architecture: Architecture,
  operations: readonly TensorOperation[],
): { output: string; elements: Elements } {
  writeParameters(writer, architecture, operations);
  writer.add('', '// The row.');
  return writeRow(writer, hiddenPlan(architecture, operations), 0);
}

/** Each output is the number that is stated. One that is known beforehand has to be it already: `bad-input` where not. */
export function writeOutputs(
  writer: Writer,
  output: string,
  { live, low }: Elements,
  stated: ArrayLike<number>,
): void {
  const open = [...live.keys()].filter((e) => live[e] === 1);
  live.forEach((each, e) => {
    if (each === 0 && low[e] !== stated[e])
      throw new VouchError(
        'bad-input',
        `output ${e}: it follows from the input and is ${low[e]}, not ${stated[e]}`,
      );
  });
  if (open.length === 0) return;
  writer.add(
    `var open[${open.length}] = ${writer.list(open)};`,
    `var stated[${open.length}] = ${writer.list(open.map((e) => stated[e]!))};`,
    `for (var e = 0; e < ${open.length}; e++) {`,
    `    ${output}[open[e]] === stated[e];`,
    '}',
  );
}

function writeParameters(
  { add }: Writer,
  architecture: Architecture,
  operations: readonly TensorOperation[],
): void {
  const convs = convsOf(operations);
  const widths = parameterWidths(architecture);
  const elements = elementsFor(widths);
  const layers = convs.map((conv) => ({ ...conv, inputs: conv.channels * tapsOf(conv) }));
  layers.forEach(({ inputs, outputs }, c) => {
    add(`signal input w${c}[${outputs}][${inputs}];`, `signal input b${c}[${outputs}];`);
  });
  add('', '// The parameters are those of the commitment, each in its range.');
  add(
    `component opened = ModelCommitment(${COMMITMENT_VERSION}, ${architectureElement(architecture)}, ${elements});`,
    'opened.salt <== salt;',
  );
  if (convs.length === 0) {
    add('opened.element[0] <== 0;', 'commitment === opened.out;');
    return;
  }
  add(...packedLayers(layers, widths.length, elements));
  add('opened.element <== packed.element;', 'commitment === opened.out;');
}

/** A row's values as signals; returns the name of the last one. */
function writeRow(writer: Writer, plan: Plan, row: number): { output: string; elements: Elements } {
  const { add } = writer;
  let conv = 0;
  const nameOf = (value: number): string => (value === 0 ? 'x' : `v${row}_${value}`);
  plan.laid.forEach((each, i) => {
    const value = i + 1;
    const elements = plan.values[value]!;
    const own = each.operation.kind === 'conv' ? conv++ : 0;
    if (!isLive(elements) && value < plan.laid.length) return;
    const name = nameOf(value);
    add(`signal ${name}[${each.size}];`);
    if (!isLive(elements)) {
      writer.add(`var k${name}[${each.size}] = ${writer.list(elements.low)};`);
      writer.copy(
        each.size,
        (e) => `${name}[${e}]`,
        (e) => `k${name}[${e}]`,
      );
      return;
    }
    writeOne({ writer, plan, elements, name, nameOf, classes: plan.classes[i] }, each, own);
  });
  return { output: nameOf(plan.laid.length), elements: plan.values.at(-1)! };
}

interface Writing {
  readonly writer: Writer;
  readonly plan: Plan;
  readonly elements: Elements;
  readonly name: string;
  readonly nameOf: (value: number) => string;
  readonly classes: Classes | undefined;
}

function writeOne(writing: Writing, each: Laid, conv: number): void {
  switch (each.kind) {
    case 'conv':
      writeConv(writing, each, conv);
      return;
    case 'sum':
      writeSum(writing, each);
      return;
    case 'rescale':
      writeRescale(writing, each.operation);
      return;
    case 'max':
      writeMax(writing, each);
      return;
    case 'product':
      writeProduct(writing, each);
      return;
  }
}

/** A value that is constant altogether has no signals. */
const wholeConstant = ({ plan }: Writing, of: number): boolean => !isLive(plan.values[of]!);

function writeConv(writing: Writing, { operation, under, plane }: LaidConv, conv: number): void {
  const { writer, name, nameOf, plan } = writing;
  const { of, groups, channels, outputs } = operation;
  const shape = `${groups}, ${channels}, ${plane}, ${outputs}, ${under.length}, ${tapsOf(operation)}, ${writer.table(under)}`;
  const constant = wholeConstant(writing, of);
  writer.add(
    constant
      ? `component c${name} = ConvConstant(${shape}, ${writer.list(plan.values[of]!.low)});`
      : `component c${name} = ConvSignal(${shape});`,
    ...(constant ? [] : [`c${name}.x <== ${nameOf(of)};`]),
    `c${name}.w <== w${conv};`,
    `c${name}.b <== b${conv};`,
    `${name} <== c${name}.out;`,
  );
}

function writeSum(writing: Writing, { operation, from, offset, size }: LaidSum): void {
  const { writer, name, nameOf, plan } = writing;
  const known = Float64Array.from(offset);
  const parts: string[] = [];
  operation.parts.forEach(({ of, factor }, p) => {
    const x = plan.values[of]!;
    if (!isLive(x)) {
      from[p]!.forEach((at, e) => {
        if (at >= 0) known[e]! += factor * x.low[at]!;
      });
      return;
    }
    parts.push(
      `var f${name}_${p}[${size}] = ${writer.list(from[p]!)};`,
      `for (var e = 0; e < ${size}; e++) {`,
      `    if (f${name}_${p}[e] >= 0) {`,
      `        s${name}[e] += ${factor} * ${nameOf(of)}[f${name}_${p}[e]];`,
      '    }',
      '}',
    );
  });
  writer.add(`var s${name}[${size}] = ${writer.list(known)};`, ...parts);
  writer.copy(
    size,
    (e) => `${name}[${e}]`,
    (e) => `s${name}[${e}]`,
  );
}

/** Elements that are known among others that are not, and those that are like others. */
function writeKnown({ writer, elements, name }: Writing): void {
  const alike = [...elements.like.keys()].filter((e) => elements.live[e] === 1 && elements.like[e] !== e);
  if (alike.length > 0) {
    writer.add(
      `var to${name}[${alike.length}] = ${writer.list(alike)};`,
      `var like${name}[${alike.length}] = ${writer.list(alike.map((e) => elements.like[e]!))};`,
    );
    writer.copy(
      alike.length,
      (e) => `${name}[to${name}[${e}]]`,
      (e) => `${name}[like${name}[${e}]]`,
    );
  }
  const known = [...elements.live.keys()].filter((e) => elements.live[e] === 0);
  if (known.length === 0) return;
  writer.add(
    `var at${name}[${known.length}] = ${writer.list(known)};`,
    `var k${name}[${known.length}] = ${writer.list(known.map((e) => elements.low[e]!))};`,
  );
  writer.copy(
    known.length,
    (e) => `${name}[at${name}[${e}]]`,
    (e) => `k${name}[${e}]`,
  );
}

function writeRescale(writing: Writing, operation: Rescale): void {
  const { writer, name, nameOf, classes } = writing;
  const { of, shift, low, cap } = operation;
  for (const [n, list] of classes!) {
    const part = `r${name}_${n}`;
    const template =
      low === undefined
        ? `Rescale(${list.length}, ${n}, ${shift})`
        : isCapped(operation, n)
          ? `RescaleWithin(${list.length}, ${n}, ${shift}, ${cap}, ${low})`
          : `RescaleAbove(${list.length}, ${n}, ${shift}, ${low})`;
    writer.add(`component ${part} = ${template};`, `var at${part}[${list.length}] = ${writer.list(list)};`);
    const at = (e: string): string => `[at${part}[${e}]]`;
    writer.copy(
      list.length,
      (e) => `${part}.in[${e}]`,
      (e) => `${nameOf(of)}${at(e)}`,
    );
    writer.copy(
      list.length,
      (e) => `${name}${at(e)}`,
      (e) => `${part}.out[${e}]`,
    );
  }
  writeKnown(writing);
}

function writeMax(writing: Writing, { operation, from }: LaidMax): void {
  const { writer, name, nameOf, classes, plan } = writing;
  for (const [n, list] of classes!) {
    const part = `m${name}_${n}`;
    const groups = list.map((e) => groupOf(from, e, plan.values[operation.of]!));
    const inputs = groups.flat();
    const [left, right, result]: [number[], number[], number[]] = [[], [], []];
    let first = 0;
    for (const group of groups) {
      let most = first;
      for (let k = 1; k < group.length; k++) {
        left.push(most);
        right.push(first + k);
        most = inputs.length + left.length - 1;
      }
      result.push(most);
      first += group.length;
    }
    const many = (numbers: readonly number[], as: string): string =>
      `var ${as}${part}[${numbers.length}] = ${writer.list(numbers)};`;
    if (left.length === 0) {
      writer.add(many(list, 'at'), many(inputs, 'in'));
      writer.copy(
        list.length,
        (e) => `${name}[at${part}[${e}]]`,
        (e) => `${nameOf(operation.of)}[in${part}[${e}]]`,
      );
      continue;
    }
    writer.add(
      `component ${part} = Maxima(${n}, ${inputs.length}, ${left.length}, ${writer.list(left)}, ${writer.list(right)});`,
      many(inputs, 'in'),
      many(list, 'at'),
      many(result, 'out'),
    );
    writer.copy(
      inputs.length,
      (e) => `${part}.in[${e}]`,
      (e) => `${nameOf(operation.of)}[in${part}[${e}]]`,
    );
    writer.copy(
      list.length,
      (e) => `${name}[at${part}[${e}]]`,
      (e) => `${part}.number[out${part}[${e}]]`,
    );
  }
  writeKnown(writing);
}

function writeProduct(writing: Writing, { operation, from, size }: LaidProduct): void {
  const { writer, name, nameOf, plan } = writing;
  const sides = operation.parts.map(({ of }, p) => {
    const value = plan.values[of]!;
    if (isLive(value)) {
      writer.add(`var f${name}_${p}[${size}] = ${writer.list(from[p]!)};`);
      return (e: string) => `${nameOf(of)}[f${name}_${p}[${e}]]`;
    }
    writer.add(`var k${name}_${p}[${size}] = ${writer.list(Array.from(from[p]!, (at) => value.low[at]!))};`);
    return (e: string) => `k${name}_${p}[${e}]`;
  });
  writer.copy(
    size,
    (e) => `${name}[${e}]`,
    (e) => `${sides[0]!(e)} * ${sides[1]!(e)}`,
  );
}

/** Bits of a non-negative integer. */
const bitLength = (n: number): number => n.toString(2).length;

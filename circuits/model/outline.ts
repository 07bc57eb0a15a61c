/**
 * A model as it can be drawn: its operations one after the other, and what each costs in a proof. Everything comes from the
 * public architecture, so whoever has the manifest can draw it.
 */
import { type Architecture, architectureDocument } from './architecture.ts';
import { type CircuitCost, circuitCost } from './cost.ts';
import { labelText } from './dictionary.ts';
import { featureRanges } from './preprocessing.ts';
import { maxRows } from './size.ts';
import type { Rescale } from './tensors.ts';
import type { TestSet } from './test-set.ts';

export interface OutlineStep {
  readonly kind: string;
  /** shapes, widths and bounds, in words */
  readonly text: string;
  readonly constraints: number;
  readonly terms: number;
  /** whose results it takes, as indices among the outline's steps; none of rows, and of what a proof needs besides */
  readonly from: readonly number[];
}

export interface Outline {
  /** from the rows to the decision, in the order of computing */
  readonly steps: readonly OutlineStep[];
  /** what the proof needs besides */
  readonly proof: readonly OutlineStep[];
  readonly rows: number;
  readonly cost: Omit<CircuitCost, 'parts'>;
}

/** The outline, with costs for these rows. */
export function outlineOf(architecture: Architecture, testSet: TestSet): Outline {
  const { parts, ...cost } = circuitCost(architecture, testSet);
  const sum = (which: (part: (typeof parts)[number]) => boolean) => {
    const found = parts.filter(which);
    return {
      constraints: found.reduce((total, each) => total + each.constraints, 0),
      terms: found.reduce((total, each) => total + each.terms, 0),
    };
  };
  const ranges = featureRanges(architecture.preprocessing);
  const low = ranges.reduce((least, range) => Math.min(least, range.low), 0);
  const high = ranges.reduce((most, range) => Math.max(most, range.high), 0);
  const free = { constraints: 0, terms: 0 };
  const operations = operationsOf(architecture);
  return {
    steps: [
      { kind: 'rows', text: `${ranges.length} features from ${low} to ${high}`, ...free, from: [] },
      ...operations.map(({ kind, text, from }, i) => ({
        kind,
        text,
        ...sum(({ operation }) => operation === i),
        from: from.length > 0 ? from : [i],
      })),
      {
        kind: architecture.decision,
        text: architecture.dictionary ? labelText(architecture.dictionary) : architecture.classes.join(', '),
        ...sum(({ part }) => part === 'decision'),
        from: [operations.length],
      },
    ],
    proof: parts
      .filter(({ operation, part }) => operation === undefined && part !== 'decision')
      .map(({ part, constraints, terms }) => ({ kind: part, text: '', constraints, terms, from: [] })),
    rows: testSet.labels.length,
    cost,
  };
}

/** Of a proof, where no test set says. */
const ROWS = 300;

/** How many rows a proof about it is likely to have: as many as one holds, or one where its answers are tensors. */
export const usualRows = (architecture: Architecture): number =>
  architecture.named === undefined ? Math.max(1, Math.min(ROWS, maxRows(architecture))) : 1;

/** So many rows of the widest features that there can be: no row costs more. */
export function widestRows({ preprocessing }: Architecture, rows: number): TestSet {
  const widest = Int32Array.from(featureRanges(preprocessing), ({ low, high }) =>
    Math.abs(low) > Math.abs(high) ? low : high,
  );
  return { features: Array.from({ length: rows }, () => widest), labels: Array<number>(rows).fill(0) };
}

interface NamedOperation {
  readonly kind: string;
  readonly text: string;
  /** values: 0 is the rows, i what operation i - 1 gives; empty where each takes what the one before it gives */
  readonly from: readonly number[];
}

/** Operations of the document of version 2, in words; one that is not known here is shown with all its members. */
function operationsOf(architecture: Architecture): NamedOperation[] {
  const { operations } = architectureDocument({ ...architecture, version: 2 }) as {
    operations: readonly ({ readonly kind: string } & Record<string, unknown>)[];
  };
  return operations.map((operation) => ({ ...inWords(operation), from: takenBy(operation) }));
}

/** Operations on tensors name the values that they take: all of their parts do, or the operation itself. */
function takenBy({ of, parts }: Record<string, unknown>): number[] {
  const named = Array.isArray(parts) ? parts.map((part) => (part as { of?: unknown }).of) : [];
  return [...new Set([of, ...named])].filter((value) => typeof value === 'number').sort((a, b) => a - b);
}

function inWords({
  kind,
  ...members
}: { readonly kind: string } & Record<string, unknown>): Omit<NamedOperation, 'from'> {
  const { inputs, outputs, weightBits, biasBits, shift, output } = members;
  switch (kind) {
    case 'dense':
      return {
        kind,
        text: `${inputs} to ${outputs}, weights of ${weightBits} bits, biases of ${biasBits}`,
      };
    case 'conv': {
      const { groups, channels, kernel, places, weightBits } = members;
      const grouped = groups === 1 ? '' : ` in ${groups} groups`;
      return {
        kind,
        text: `${channels} to ${outputs} channels${grouped}, kernel ${joined(kernel)} at ${joined(places)} places, weights of ${weightBits} bits`,
      };
    }
    case 'rescale': {
      const { low, cap } = members as Rescale;
      const ends =
        low === undefined ? '' : `, from ${low}${cap === undefined ? '' : ` to ${low + 2 ** cap - 1}`}`;
      return { kind, text: `rounded by 2^${shift}${ends}` };
    }
    case 'relu':
      return { kind, text: `rounded by 2^${shift}, 0 to ${output}` };
    default:
      return {
        kind,
        text: Object.entries(members)
          .filter(
            ([name, value]) => name !== 'of' && (typeof value === 'number' || typeof value === 'string'),
          )
          .map(([name, value]) => `${name} ${value}`)
          .join(', '),
      };
  }
}

const joined = (sizes: unknown): string => (sizes as number[]).join(' x ');

/** Whether every step takes what the one before it gives, and that alone. */
const isChain = (steps: readonly OutlineStep[]): boolean =>
  steps.every(({ from }, i) => i === 0 || (from.length === 1 && from[0] === i - 1));

/** The outline as lines of plain text. Steps have numbers where some take another one's result than that before them. */
export function drawing({ steps, proof, cost }: Outline): string[] {
  const chain = isChain(steps);
  const texts = steps.map(({ text, from }, i) =>
    chain || i === 0 ? text : `${text === '' ? '' : `${text}; `}takes ${from.join(' and ')}`,
  );
  const digits = String(steps.length).length;
  const width = Math.max(...[...steps, ...proof].map(({ kind }) => kind.length));
  const textWidth = Math.max(...texts.map((text) => text.length));
  const line = ({ kind, constraints }: OutlineStep, text: string, number: string): string => {
    const share = constraints === 0 ? '' : `${((constraints / cost.constraints) * 100).toFixed(1)} %`;
    const head = chain ? '' : `${number.padStart(digits)}  `;
    return `${head}${kind.padEnd(width)}  ${text.padEnd(textWidth)}  ${constraints === 0 ? '' : String(constraints).padStart(9)}  ${share.padStart(6)}`.trimEnd();
  };
  return [
    ...steps.flatMap((step, i) => {
      const own = line(step, texts[i]!, String(i));
      return chain && i > 0 ? ['  |', own] : [own];
    }),
    '',
    ...proof.map((step) => line(step, step.text, '')),
  ];
}

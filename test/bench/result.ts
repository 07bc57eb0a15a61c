/** What a benchmark gives: rows that say what was measured, against what, and what was asked for. */

/** How often what takes seconds is measured; the median counts. */
export const RUNS = 5;

export interface Row {
  readonly name: string;
  readonly unit: string;
  readonly ours: number;
  /** the same measured with another program, in the same run */
  readonly peer: number | null;
  readonly peerName: string | null;
  /** how many times better than the peer we are; below 1 we are worse */
  readonly ratio: number | null;
  /** the bound that has to hold: on `ratio` where there is a peer, on `ours` elsewhere */
  readonly must: number | null;
  /** the bound that we would like to hold, on the same number */
  readonly aim: number | null;
  /** whether `must` holds; null where nothing is demanded */
  readonly pass: boolean | null;
  /** the tables of points that were used, made before; null where none were */
  readonly tables: Tables | null;
}

export interface Tables {
  /** what making them took */
  readonly seconds: number;
  readonly mebibytes: number;
  /** proofs with the same key after which they have paid for themselves */
  readonly paidAfter: number;
}

export interface Measured {
  readonly name: string;
  readonly unit: string;
  readonly ours: number;
  /** whether a smaller or a larger number is better; smaller by default */
  readonly better?: 'less' | 'more';
  readonly peer?: { readonly name: string; readonly value: number };
  readonly must?: number;
  readonly aim?: number;
  readonly tables?: Tables;
}

export interface BenchContext {
  /** Whether a row of this name was asked for. */
  readonly wants: (name: string) => boolean;
  /** Progress, for people. */
  readonly say: (line: string) => void;
  /** Aborted by Ctrl-C; whatever was started has to end then. */
  readonly signal: AbortSignal;
  /** Sizes are at most 2^maxBits, and nothing is begun after so many minutes, where a benchmark heeds that. */
  readonly maxBits?: number | undefined;
  readonly minutes?: number | undefined;
  /** Without V8's fused vectors, as a process runs that is not ours. */
  readonly plain?: boolean | undefined;
  /** Where files that take long to make stay, where a benchmark heeds that. */
  readonly keep?: string | undefined;
}

/** A benchmark checks each result before it counts it. Throws when a result is wrong. */
export type Benchmark = (context: BenchContext) => Promise<Row[]>;

export function row({ name, unit, ours, better = 'less', peer, must, aim, tables }: Measured): Row {
  const ratio = peer === undefined ? null : better === 'less' ? peer.value / ours : ours / peer.value;
  const holds = (bound: number): boolean => {
    if (ratio !== null) return ratio >= bound;
    return better === 'less' ? ours <= bound : ours >= bound;
  };
  return {
    name,
    unit,
    ours: rounded(ours),
    peer: peer === undefined ? null : rounded(peer.value),
    peerName: peer?.name ?? null,
    ratio: ratio === null ? null : rounded(ratio),
    must: must ?? null,
    aim: aim ?? null,
    pass: must === undefined ? null : holds(must),
    tables: tables ?? null,
  };
}

/** Three significant digits: more would be noise. */
const rounded = (value: number): number => Number(value.toPrecision(3));

/** The rows as a table in Markdown, so that it can go into docs/BENCHMARKS.md as it is. */
export function table(rows: readonly Row[]): string {
  const head = ['what', 'unit', 'ours', 'peer', 'ratio', 'must', 'aim', 'pass'];
  const cells = rows.map(({ name, unit, ours, peer, peerName, ratio, must, aim, pass }) => [
    name,
    unit,
    String(ours),
    peer === null ? '' : `${peer} (${peerName})`,
    ratio === null ? '' : `${ratio}x`,
    bound(must, ratio),
    bound(aim, ratio),
    pass === null ? '' : pass ? 'yes' : 'NO',
  ]);
  const widths = head.map((title, i) => Math.max(title.length, ...cells.map((line) => line[i]!.length)));
  const line = (parts: readonly string[]) =>
    `| ${parts.map((part, i) => (i < 2 ? part.padEnd(widths[i]!) : part.padStart(widths[i]!))).join(' | ')} |`;
  const rule = `|${widths.map((width, i) => (i < 2 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`;
  return [line(head), rule, ...cells.map(line)].join('\n');
}

const bound = (value: number | null, ratio: number | null): string =>
  value === null ? '' : ratio === null ? String(value) : `${value}x`;

/**
 * How large a quality circuit becomes, from public numbers alone and before anything is emitted or compiled: what a
 * request costs is known before it is paid.
 *
 * Counted are the constraints that multiply; the linear ones vanish in the compiler (--O2). The count is never below the
 * compiled circuit's by more than a few rows' worth of linear constraints that stay, and above it where a row's features
 * need fewer bits than the architecture allows.
 */
import { VouchError } from '../../protocols/errors.ts';
import { type Architecture, checksOf, EXACT, outputsOf } from './architecture.ts';
import { elementsFor, parameterWidths } from './commit.ts';
import { treesCost, voteBits } from './emit-trees.ts';
import { MAX_INPUTS, partialRounds } from './poseidon.ts';
import { tensorsCost } from './tensor-plan.ts';
import { MAX_ROWS } from './test-set.ts';
import type { TreesShape } from './trees.ts';

/**
 * No circuit is compiled that may be larger. circom's WebAssembly ends at 4 GiB: 0.56 million constraints took it 61 s and 1.1
 * GiB, 1.09 million 126 s and 1.3 GiB, 2.15 million 288 s and 2.2 GiB, and with 4.28 million it ended; on two cores that others
 * used as well.
 */
export const MAX_CONSTRAINTS = 2 ** 21;
/** Rows times parameters: what the first layer, which is linear, costs the compiler all the same. */
const MAX_TERMS = 2 ** 23;
/** Of Poseidon on 16 inputs, the widest that is used. */
const HASH_CONSTRAINTS = 620;

/** Rows of the matrices that hold the public signals and the constant 1. */
const PUBLIC_ROWS = 3;
/** How much smaller than counted a circuit may be whose features need few bits. */
const SLACK = 4;

/** n with |value| <= bound < 2^(n-1). */
const signedBits = (bound: number): number => bound.toString(2).length + 1;

interface Cost {
  readonly fixed: number;
  readonly perRow: number;
}

/** Of a network. */
function costOf(architecture: Architecture): Cost {
  const { layers, decision, tensors } = architecture;
  const widths = parameterWidths(architecture);
  const elements = elementsFor(widths);
  const hashes = 2 + Math.ceil(elements / 15);
  const bits = widths.reduce((sum, width) => sum + width, 0);
  const fixed = bits + hashes * HASH_CONSTRAINTS + 2 * signedBits(EXACT);
  if (tensors) {
    const { byOperation, widestMargin } = tensorsCost(architecture, tensors);
    // Of numbers as answers each is a linear constraint, that may stay.
    const margins =
      decision === 'tensor' ? outputsOf(architecture) : checksOf(architecture) * (widestMargin + 1);
    return { fixed, perRow: byOperation.reduce((sum, each) => sum + each, margins) };
  }
  const last = layers.length - 1;
  const margins = checksOf(architecture);
  let perRow = margins * (signedBits(2 * layers[last]!.accumulator + 1) + 1);
  layers.forEach(({ inputs, outputs, accumulator }, l) => {
    if (l < last) perRow += outputs * (signedBits(accumulator) + 1);
    if (l > 0) perRow += inputs * (l === last && decision === 'argmax' ? margins : outputs);
  });
  return { fixed, perRow };
}

/** About how many constraints the quality circuit of so many rows has, at most. */
export function estimateConstraints(architecture: Architecture, rows: number): number {
  const { trees } = architecture;
  if (trees) return treesConstraints(architecture, trees, rows);
  const { fixed, perRow } = costOf(architecture);
  return fixed + rows * perRow;
}

/**
 * Throws `key-rejected` for a key whose domain no circuit of this architecture and so many rows can need. `domainSize`
 * is what the key's header says; the circuit decides later.
 */
export function demandDomain(domainSize: number, architecture: Architecture, rows: number): void {
  const most = 2 ** Math.ceil(Math.log2(estimateConstraints(architecture, rows) + PUBLIC_ROWS));
  const { trees } = architecture;
  const least = (rows * (trees ? marginsOf(architecture, trees) : costOf(architecture).perRow)) / SLACK;
  if (domainSize >= least && domainSize <= most) return;
  throw new VouchError(
    'key-rejected',
    `key: its domain of ${domainSize} is not that of a circuit of ${rows} rows for this model; make the key with vouch prove or vouch setup`,
  );
}

/** Constraints of circomlib's Poseidon on so many inputs, of which some are constants: 3 for each power of five but those of constants. */
export const poseidonConstraints = (inputs: number, constants = 0): number =>
  3 * (8 * (inputs + 1) + partialRounds(inputs)) - 3 * (1 + constants);

/** Of the commitment: the chain over the parameters' elements, and the hash with version and architecture, which are constants. */
function commitmentConstraints(elements: number): number {
  let sum = poseidonConstraints(4, 2);
  for (let at = 0; at < elements; ) {
    const chained = at > 0 ? 1 : 0;
    const fresh = Math.min(elements - at, MAX_INPUTS - chained);
    sum += poseidonConstraints(chained + fresh);
    at += fresh;
  }
  return sum;
}

function treesConstraints(architecture: Architecture, trees: TreesShape, rows: number): number {
  const elements = elementsFor(parameterWidths(architecture));
  const cost = treesCost(architecture, trees, { rows });
  return (
    cost.parameters +
    cost.rows +
    commitmentConstraints(elements) +
    2 * rows.toString(2).length +
    rows * marginsOf(architecture, trees)
  );
}

/** Constraints of the margins of a row. */
export const marginsOf = (architecture: Architecture, trees: TreesShape): number =>
  checksOf(architecture) * (voteBits(trees, architecture.decision) + 1) - 1;

/** How many rows one proof about a model of this architecture may have. */
export function maxRows(architecture: Architecture): number {
  if (architecture.trees) {
    // More rows never cost less.
    let [fits, beyond] = [0, 2 ** 16 + 1];
    while (beyond - fits > 1) {
      const middle = Math.floor((fits + beyond) / 2);
      if (estimateConstraints(architecture, middle) <= MAX_CONSTRAINTS) fits = middle;
      else beyond = middle;
    }
    return fits;
  }
  const { fixed, perRow } = costOf(architecture);
  const parameters = parameterWidths(architecture).length;
  return Math.max(
    0,
    Math.min(MAX_ROWS, Math.floor((MAX_CONSTRAINTS - fixed) / perRow), Math.floor(MAX_TERMS / parameters)),
  );
}

/** Throws `too-large` for more rows than a proof about this architecture may have. */
export function demandRows(architecture: Architecture, rows: number): void {
  const most = maxRows(architecture);
  if (rows <= most) return;
  throw new VouchError(
    'too-large',
    `rows: expected at most ${most} for a model of this architecture (${MAX_CONSTRAINTS} constraints), got ${rows}; ask about fewer rows`,
  );
}

/**
 * Where a quality circuit's size goes, operation by operation, from public numbers alone: constraints, and the non-zero
 * terms of its matrices, which decide how large a key is and how long it takes to make.
 *
 * Constraints and wires are exact. Terms follow from which wire circom's --O2 removes with each linear constraint, which is
 * known from looking at compiled circuits: of a range check's bits an inner one, of a sum of products the last product. A
 * test compares. They are exact with at most one hidden layer and 50 rows or more, and within 1 % with more layers or a
 * sign behind them. Where one layer alone decides between more than two classes, circom writes margins by each other, and
 * the count is an estimate, within a third.
 */
import { type Architecture, checksOf } from './architecture.ts';
import { elementsFor, parameterWidths } from './commit.ts';
import { rowBounds } from './emit.ts';
import { treesCost } from './emit-trees.ts';
import { MAX_INPUTS } from './poseidon.ts';
import { marginsOf, poseidonConstraints } from './size.ts';
import { tensorsCost } from './tensor-plan.ts';
import { type TensorOperation, weightsOf } from './tensors.ts';
import type { TestSet } from './test-set.ts';
import { type TreesShape, topologiesOf } from './trees.ts';

/** What a part of the computation costs. */
export interface CostPart {
  /** as `vouch model show` calls it */
  readonly part: string;
  /** index among the architecture's operations; undefined: of the proof as a whole */
  readonly operation: number | undefined;
  readonly constraints: number;
  readonly terms: number;
}

export interface CircuitCost {
  readonly parts: readonly CostPart[];
  readonly constraints: number;
  readonly terms: number;
  /** about how many terms of sums the compiler puts into other constraints; none of trees, whose time shows none */
  readonly movedTerms: number;
  /** whether the count of terms is known to be that of the compiled circuit */
  readonly exactTerms: boolean;
  /** wires, the constant 1 included */
  readonly variables: number;
  /** the power of two that the key is made for */
  readonly domain: number;
  /** of the `.zkey` file; exact where the terms are, up to those of C, which are not in it */
  readonly keyBytes: number;
}

/** Rows of a circuit's matrices for the public signals and the constant 1. */
const PUBLIC_ROWS = 3;
/** See `ensembleCost`. */
export const TREE_TERMS = { parameter: 9.3, product: 28.5, margin: 12 };
/** Of a network of tensors, for each constraint: counted in compiled circuits of small convolutional networks. */
const TENSOR_TERMS = { parameter: 5, product: 5, bit: 6 };
/** What is more than this for each constraint came with a sum. */
const TERMS_OF_A_BIT = 5;
/** Below so many rows circom takes another wire out of some range checks. */
const MANY_ROWS = 50;

/** n with |value| <= bound < 2^(n-1). */
const signedBits = (bound: number): number => bound.toString(2).length + 1;

export function circuitCost(architecture: Architecture, testSet: TestSet): CircuitCost {
  const { layers, decision, trees, tensors } = architecture;
  if (trees) return ensembleCost(architecture, trees, testSet);
  if (tensors) return tensorNetworkCost(architecture, tensors, testSet);
  const { features, labels } = testSet;
  const rows = labels.length;
  const last = layers.length - 1;
  const margins = checksOf(architecture);
  const parts = new Map<string, CostPart>();
  const add = (part: string, operation: number | undefined, constraints: number, terms: number): void => {
    const sum = parts.get(part) ?? { constraints: 0, terms: 0 };
    parts.set(part, {
      part,
      operation,
      constraints: sum.constraints + constraints,
      terms: sum.terms + terms,
    });
  };
  // Layers are dense and relu in turns.
  const denseOf = (l: number): number => 2 * l;

  layers.forEach(({ inputs, outputs, weightBits, biasBits }, l) => {
    const count = inputs * outputs;
    const constraints = count * weightBits + outputs * biasBits;
    add(
      `layer ${l + 1}: weights in their ranges`,
      denseOf(l),
      constraints,
      5 * constraints - count - outputs,
    );
  });
  const widths = parameterWidths(architecture);
  const { constraints, terms, products } = commitmentCost(elementsFor(widths));
  /** terms of C, which are no part of a key */
  let ofC = products;
  add('commitment', undefined, constraints, terms + 3 * widths.length);

  features.forEach((row, r) => {
    const bounds = rowBounds(architecture, row);
    const used = Array.from(row).reduce((sum, x) => sum + (x === 0 ? 0 : 1), 0);
    layers.forEach((layer, l) => {
      const ends = l === last && decision === 'argmax';
      if (l > 0) {
        const outputs = ends ? margins : layer.outputs;
        // w x = product, where w of a margin is a difference; the last product is what the sum leaves of it.
        const width = ends ? 2 : 1;
        const constant = l === last ? labels[r]! : 0;
        ofC += outputs * (2 * layer.inputs + width - 1) + constant;
        add(
          `layer ${l + 1}: products`,
          denseOf(l),
          outputs * layer.inputs,
          outputs * (layer.inputs * (width + 3) + width - 1) + constant,
        );
      }
      if (l === last) return;
      ofC += layer.outputs;
      const n = signedBits(bounds[l]!);
      const sum = n - 1 + (l === 0 ? used + 1 : 1) + 1;
      add(
        `layer ${l + 1}: rounding and ReLU`,
        denseOf(l) + 1,
        layer.outputs * (n + 1),
        layer.outputs * (3 * (n - 1) + 2 * sum + (n - 1 - layer.shift) + 2),
      );
    });
    const n = signedBits(2 * bounds[last]! + 1);
    ofC += margins - 1;
    const of = last > 0 ? 1 : decision === 'sign' ? used + 1 : 2 * used + 2;
    const between = last > 0 ? (margins - 1) * (n - 1) : Math.round((margins - 1) ** 2.4 * (2 * used + n));
    add(
      'decision',
      undefined,
      margins * n + margins - 1,
      margins * (3 * (n - 1) + 2 * (n + of)) + 3 * (margins - 1) + between,
    );
  });
  const n = rows.toString(2).length;
  add('threshold', undefined, 2 * n, 6 * (n - 1) + 2 * n + 1 + 2 * (rows + n) + 1);

  // A linear constraint for each sum of bits.
  const hidden = layers.slice(0, -1).reduce((units, { outputs }) => units + outputs, 0);
  return totalled([...parts.values()], {
    linear: rows * (hidden + margins),
    exactTerms: rows >= MANY_ROWS && (last === 0 ? margins === 1 : last === 1 && decision === 'argmax'),
    inKey: (terms) => terms - ofC,
  });
}

/**
 * What the parts of a circuit come to. `linear`: linear constraints, each of which takes one wire away; `inKey`: how many of its
 * terms are of A and B, which a key holds.
 */
export function totalled(
  parts: readonly CostPart[],
  {
    linear,
    exactTerms = false,
    moved = true,
    inKey,
  }: {
    readonly linear: number;
    readonly exactTerms?: boolean;
    readonly moved?: boolean;
    readonly inKey: (terms: number) => number;
  },
): CircuitCost {
  const sum = (of: 'constraints' | 'terms') => parts.reduce((total, each) => total + each[of], 0);
  const [constraints, terms] = [sum('constraints'), sum('terms')];
  const variables = constraints + 1 - linear;
  const domain = 2 ** Math.ceil(Math.log2(constraints + PUBLIC_ROWS));
  return {
    parts,
    constraints,
    terms,
    movedTerms: moved ? Math.max(0, terms - TERMS_OF_A_BIT * constraints) : 0,
    exactTerms,
    variables,
    domain,
    keyBytes: keyBytes(variables, domain, inKey(terms)),
  };
}

/**
 * Of an ensemble. Its terms are an estimate, because a row's sums are over as many candidates as hold for it. It was within an
 * eighth of what was counted in compiled circuits of 100 trees of depth 3 with 40, 80 and 300 rows, and of a single tree.
 */
function ensembleCost(
  architecture: Architecture,
  trees: TreesShape,
  { features, labels }: TestSet,
): CircuitCost {
  const rows = labels.length;
  const { parameters, rows: decided } = treesCost(architecture, trees, features);
  const elements = elementsFor(parameterWidths(architecture));
  const commitment = commitmentCost(elements);
  const margins = rows * marginsOf(architecture, trees);
  const n = rows.toString(2).length;
  const splits = topologiesOf(trees).reduce((total, topology) => total + topology.splits, 0);
  const part = (name: string, operation: number | undefined, constraints: number, terms: number) => ({
    part: name,
    operation,
    constraints,
    terms: Math.round(terms),
  });
  const parts: CostPart[] = [
    part('trees: parameters in their ranges', 0, parameters, parameters * TREE_TERMS.parameter),
    part('trees: products', 0, decided, decided * TREE_TERMS.product),
    part('commitment', undefined, commitment.constraints, commitment.terms),
    part('decision', undefined, margins, margins * TREE_TERMS.margin),
    part('threshold', undefined, 2 * n, 6 * (n - 1) + 2 * n + 1 + 2 * (rows + n) + 1),
  ];
  // A linear constraint for each margin and each split.
  const linear = splits + rows * checksOf(architecture);
  return totalled(parts, {
    linear,
    moved: false,
    inKey: (terms) => terms - commitment.products - decided,
  });
}

/**
 * Of a network of tensors whose answer is a class or a number: constraints and wires are exact; where answers are tensors they are the
 * most, because numbers that determine parameters by linear equations make these constants. Terms are an
 * estimate (see TENSOR_TERMS).
 */
function tensorNetworkCost(
  architecture: Architecture,
  operations: readonly TensorOperation[],
  { features, labels }: TestSet,
): CircuitCost {
  const rows = labels.length;
  const margins = checksOf(architecture);
  const widths = parameterWidths(architecture);
  const elements = elementsFor(widths);
  const commitment = commitmentCost(widths.length > 0 ? elements : 0);
  const byOperation = Array<number>(operations.length).fill(0);
  let decided = 0;
  let linear = rows * margins;
  features.forEach((row, r) => {
    const cost = tensorsCost(architecture, operations, row);
    linear += cost.linear;
    cost.byOperation.forEach((constraints, i) => {
      byOperation[i]! += constraints;
    });
    decided += margins * cost.marginBits(labels[r]!) + margins - 1;
  });
  const n = rows.toString(2).length;
  const parts: CostPart[] = [];
  const add = (part: string, operation: number | undefined, constraints: number, terms: number): void => {
    if (constraints > 0) parts.push({ part, operation, constraints, terms: Math.round(terms) });
  };
  operations.forEach((operation, i) => {
    const name = `operation ${i + 1}`;
    if (operation.kind === 'conv') {
      const { outputs, weightBits, biasBits } = operation;
      const bits = weightsOf(operation) * weightBits + outputs * biasBits;
      add(`${name}: weights in their ranges`, i, bits, bits * TENSOR_TERMS.parameter);
    }
    const terms = operation.kind === 'conv' ? TENSOR_TERMS.product : TENSOR_TERMS.bit;
    add(`${name}: ${operation.kind}`, i, byOperation[i]!, byOperation[i]! * terms);
  });
  add('commitment', undefined, commitment.constraints, commitment.terms + 3 * widths.length);
  add('decision', undefined, decided, decided * TENSOR_TERMS.bit);
  add('threshold', undefined, 2 * n, 6 * (n - 1) + 2 * n + 1 + 2 * (rows + n) + 1);
  return totalled(parts, { linear, inKey: (terms) => Math.round(terms * 0.7) });
}

const G1_BYTES = 64;
const G2_BYTES = 128;
/** matrix, row, wire, value */
const ENTRY_BYTES = 44;
/** Header, sections and one contribution. */
const REST_BYTES = 1_475;
const PUBLICS = 2;

/** Of a `.zkey` (circuits/groth16/zkey.ts): points of A, B1 and B2 for each wire, C's for the hidden ones, H's for the domain. */
const keyBytes = (variables: number, domain: number, entries: number): number =>
  REST_BYTES +
  (entries + PUBLIC_ROWS) * ENTRY_BYTES +
  variables * (2 * G1_BYTES + G2_BYTES) +
  (variables - PUBLICS - 1) * G1_BYTES +
  domain * G1_BYTES;

/** Counted in compiled circuits: terms of Poseidon on 1 to 16 inputs, that of the commitment's last hash included. */
const POSEIDON_TERMS = [
  10_081, 10_544, 10_899, 15_064, 15_583, 16_785, 17_617, 18_037, 18_039, 20_161, 19_495, 21_490, 23_638,
  21_964, 23_873, 25_900,
];
/** Those of C among them. */
const POSEIDON_PRODUCTS = [
  2629, 2780, 2805, 1396, 1495, 1629, 1747, 1843, 1911, 2110, 2131, 2329, 2539, 2476, 2675, 2884,
];
const LAST_HASH = { terms: 7_507, products: 694 };

/** Of the commitment: the chain over the parameters' elements, and the hash with version and architecture, which are constants. */
export function commitmentCost(elements: number): { constraints: number; terms: number; products: number } {
  // The root over no elements at all is a constant as well.
  let constraints = poseidonConstraints(4, elements > 0 ? 2 : 3);
  let { terms, products } = LAST_HASH;
  for (let at = 0; at < elements; ) {
    const chained = at > 0 ? 1 : 0;
    const fresh = Math.min(elements - at, MAX_INPUTS - chained);
    constraints += poseidonConstraints(chained + fresh);
    terms += POSEIDON_TERMS[chained + fresh - 1]! - LAST_HASH.terms;
    products += POSEIDON_PRODUCTS[chained + fresh - 1]! - LAST_HASH.products;
    at += fresh;
  }
  return { constraints, terms, products };
}

/**
 * What a proof of one answer to a hidden row costs (emit-hidden.ts), from public numbers alone: constraints exactly, as a test
 * compares with compiled circuits; terms, and so the size of the key, as an estimate.
 */
import { VouchError } from '../../protocols/errors.ts';
import { MAX_ROW_FEATURES } from '../../protocols/sealed-row.ts';
import { type Architecture, checksOf } from './architecture.ts';
import { elementsFor, parameterWidths } from './commit.ts';
import { type CircuitCost, type CostPart, commitmentCost, TREE_TERMS, totalled } from './cost.ts';
import { marginBits } from './emit-hidden.ts';
import { hiddenTreesCost } from './emit-trees.ts';
import { featureRanges } from './preprocessing.ts';
import { rowLayout } from './row.ts';
import { MAX_CONSTRAINTS } from './size.ts';
import { hiddenPlan } from './tensor-plan.ts';
import { weightsOf } from './tensors.ts';

/** How much smaller than counted a circuit may be whose numbers make constants of others. */
const SLACK = 4;
/** of a bit in a range check, and of a product of two hidden numbers */
const TERMS = { bit: 5, product: 4 };

const signedBits = (bound: number): number => bound.toString(2).length + 1;

/** What an answer to a hidden row costs; throws `too-large` for an architecture for which no circuit of it can be compiled. */
export function demandHidden(architecture: Architecture): CircuitCost {
  const features = featureRanges(architecture.preprocessing).length;
  if (features > MAX_ROW_FEATURES)
    throw new VouchError(
      'too-large',
      `hidden row: ${features} numbers of all inputs are more than the ${MAX_ROW_FEATURES} that are sealed; show them, or use a smaller model`,
    );
  const cost = hiddenCost(architecture);
  if (cost.constraints <= MAX_CONSTRAINTS) return cost;
  throw new VouchError(
    'too-large',
    `hidden row: ${cost.constraints} constraints are more than ${MAX_CONSTRAINTS}; show the row, or use a smaller model`,
  );
}

/** Throws `key-rejected` for a key whose domain is not that of the circuit. */
export function demandHiddenDomain(domainSize: number, architecture: Architecture): void {
  const { domain } = hiddenCost(architecture);
  const { decision } = architecture;
  if (domainSize === domain || (decision === 'tensor' && domainSize < domain && domainSize >= domain / SLACK))
    return;
  throw new VouchError(
    'key-rejected',
    `key: its domain of ${domainSize} is not the ${domain} of a hidden row for this model; make the key with vouch prove`,
  );
}

/** Of a model of tensors at most: outputs that are linear in what is hidden make constants of it. */
export function hiddenCost(architecture: Architecture): CircuitCost {
  const { layers, trees, tensors, decision, preprocessing } = architecture;
  const parts: CostPart[] = [];
  const add = (part: string, operation: number | undefined, constraints: number, terms: number): void => {
    parts.push({ part, operation, constraints, terms: Math.round(terms) });
  };
  const bits = (part: string, operation: number | undefined, count: number): void =>
    add(part, operation, count, count * TERMS.bit);
  const committed = (part: string, elements: number): number => {
    const { constraints, terms, products } = commitmentCost(elements);
    add(part, undefined, constraints, terms);
    return products;
  };

  const row = rowLayout(preprocessing);
  // A column of one category is the number 1.
  const certain = preprocessing.columns.filter((c) => c.kind === 'category' && c.categories.length === 1);
  const ends = row.bits.filter((width, i) => row.span[i]! + 1 < 2 ** width);
  const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0);
  bits('row: features in their ranges', undefined, sum(row.bits) + sum(ends) - certain.length);
  let ofC = committed('row: commitment', row.elements);
  const widths = parameterWidths(architecture);
  ofC += committed('commitment', widths.length > 0 ? elementsFor(widths) : 0);

  if (trees) {
    const cost = hiddenTreesCost(architecture, trees);
    bits('trees: parameters in their ranges', 0, cost.parameters);
    bits('trees: candidates', 0, cost.tests);
    add('trees: products', 0, cost.trees, cost.trees * TREE_TERMS.parameter);
    ofC += cost.trees;
  }
  if (tensors) {
    const { constraints } = hiddenPlan(architecture, tensors);
    tensors.forEach((operation, i) => {
      const name = `operation ${i + 1}`;
      if (operation.kind === 'conv') {
        const { outputs, weightBits, biasBits } = operation;
        bits(`${name}: weights in their ranges`, i, weightsOf(operation) * weightBits + outputs * biasBits);
        add(`${name}: products`, i, constraints[i]!, constraints[i]! * TERMS.product);
        ofC += constraints[i]!;
      } else bits(`${name}: ${operation.kind}`, i, constraints[i]!);
    });
  }
  layers.forEach(({ inputs, outputs, weightBits, biasBits, accumulator }, l) => {
    const last = l === layers.length - 1;
    const width = last && decision === 'argmax' ? checksOf(architecture) : outputs;
    bits(
      `layer ${l + 1}: weights in their ranges`,
      2 * l,
      inputs * outputs * weightBits + outputs * biasBits,
    );
    add(`layer ${l + 1}: products`, 2 * l, inputs * width, inputs * width * TERMS.product);
    ofC += inputs * width;
    if (!last) bits(`layer ${l + 1}: rounding and ReLU`, 2 * l + 1, outputs * (signedBits(accumulator) + 1));
  });
  bits('decision', undefined, checksOf(architecture) * (marginBits(architecture) - 1));

  return totalled(parts, { linear: 0, moved: trees === undefined, inKey: (terms) => terms - ofC });
}

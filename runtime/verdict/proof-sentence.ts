/** What a proof proves or, where it was not accepted, claims, in one sentence: about which model, rows and labels, by which key. */
import { type Architecture, answerName, parseArchitecture } from '../../circuits/model/architecture.ts';
import { decimalOf } from '../../circuits/model/numbers.ts';
import type {
  HiddenInferenceStatement,
  PublishedProof,
  QualityStatement,
  Statement,
} from '../../protocols/proof.ts';

export function claimOf(
  statement: Statement,
  { record: { architecture } }: PublishedProof,
  found: {
    constant: number | undefined;
    labels: string;
    fixed: string | undefined;
    opened: boolean;
    link: string;
    mark: string | undefined;
  },
): string {
  const { constant, labels, fixed, opened, link, mark } = found;
  const beside = constant === undefined ? '' : ` (a constant answer scores ${constant})`;
  const key = link === 'unproven' ? 'a key whose maker could forge it' : `a key ${link} (${mark})`;
  const hidden = `the hidden model with commitment ${statement.commitment}`;
  if (statement.statement === 'inference')
    return `${hidden} answers ${nameOf(architecture, statement.decision)} to the row of input ${statement.input.slice(0, 16)}…; ${labels}; by ${key}`;
  if (statement.statement === 'hidden-inference')
    return `${hidden} answers ${nameOf(architecture, statement.decision)} to ${hiddenInput(architecture, statement, opened)}; ${labels}; by ${key}`;
  const { threshold, rows, testSet } = statement;
  const [verb, how] = countedAs(architecture, statement);
  return (
    `${hidden} ${verb} at least ${threshold} of the ${rows} rows ` +
    `of test set ${testSet.slice(0, 16)}… ${how}${beside}; ${labels}; ${fixed === undefined ? '' : `${fixed}; `}by ${key}`
  );
}

/** What is hidden, and what is known of it. */
function hiddenInput(architecture: unknown, { row }: HiddenInferenceStatement, opened: boolean): string {
  const named = readNamed(architecture);
  const commitment = `${row.slice(0, 16)}…`;
  if (opened)
    return named
      ? `the input tensors that were given here, whose commitment is ${commitment}`
      : `the row that was given here, whose commitment is ${commitment}`;
  const known = named
    ? `hidden input tensors, which are all of them (${named.inputs.map(({ name }) => JSON.stringify(name)).join(', ')}), each number in the range that the architecture states`
    : 'a hidden row, one that the dictionary allows';
  return `${known}, with commitment ${commitment}; which one only whoever has its salt can show`;
}

function readNamed(architecture: unknown): Architecture['named'] {
  try {
    return parseArchitecture(architecture).named;
  } catch {
    // The check of the rows says what is wrong with it.
    return undefined;
  }
}

/** What a model calls an answer. */
function nameOf(architecture: unknown, decision: number | undefined): string {
  if (decision === undefined) return 'the numbers that were compared';
  try {
    const parsed = parseArchitecture(architecture);
    const name = answerName(parsed, decision) ?? `class ${decision}`;
    return parsed.number ? name : JSON.stringify(name);
  } catch {
    return `class ${decision}`;
  }
}

/** What a model does with rows, and what counts as right. */
function countedAs(architecture: unknown, { within = 0 }: QualityStatement): [string, string] {
  try {
    const { number } = parseArchitecture(architecture);
    if (number) return ['answers', `with a number within ${decimalOf(within, number.label)} of their label`];
  } catch {
    // The check of the rows says what is wrong with it.
  }
  return ['classifies', 'correctly'];
}

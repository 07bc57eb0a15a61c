/** What the names in a proof's answers are worth: the vendor's words, or compared with somebody's own dictionary. */
import {
  type Architecture,
  modelDictionaryDigest,
  parseArchitecture,
} from '../../circuits/model/architecture.ts';
import { type Dictionary, differenceOf, labelText } from '../../circuits/model/dictionary.ts';
import { messageOf } from '../../protocols/errors.ts';
import type { PublishedProof } from '../../protocols/proof.ts';
import type { PrintedCheck } from './checks.ts';

/** Whether somebody's own dictionary says what the model's says, and in which way it does not. */
export function compareDictionary(
  own: Dictionary,
  architecture: Architecture,
): { same: boolean; detail: string } {
  if (!architecture.dictionary)
    return {
      same: false,
      detail: architecture.named
        ? 'the model is one of tensors, which no data dictionary describes; leave it out'
        : 'the model has no dictionary (its architecture is of version 1)',
    };
  const difference = differenceOf(own, architecture.dictionary);
  if (difference) return { same: false, detail: difference };
  return {
    same: true,
    detail: `columns${own.label.number ? ' and label' : ', classes and their order'} are those of the model: ${labelText(own)}`,
  };
}

/** Whose names the classes have: one's own, where the model's dictionary says the same, else the vendor's. */
export function labelsOf(
  { record: { statement, architecture } }: PublishedProof,
  own: Dictionary | undefined,
): Pick<PrintedCheck, 'status' | 'detail'> & { names: string } {
  try {
    const parsed = parseArchitecture(architecture);
    const tensors = parsed.decision === 'tensor';
    if (tensors !== (statement.statement !== 'quality' && statement.decision === undefined))
      return {
        status: 'fail',
        detail:
          'the statement is about a class, and the answers of the model are tensors, or the other way round',
        names: 'classes that nobody compared',
      };
    if (tensors && own)
      return {
        status: 'fail',
        detail: 'the answers are tensors, which have no names: expected no --dictionary',
        names: 'tensors, which no dictionary describes',
      };
    if (tensors)
      return {
        status: 'pass',
        detail: 'the answers are tensors, in the steps that the architecture states',
        names: "tensors in the architecture's steps, exact in its integers",
      };
    const names = parsed.dictionary ? labelText(parsed.dictionary) : parsed.classes.join(', ');
    const [what, named] = parsed.number ? ['the label', 'it'] : ['classes', 'them'];
    const theirs = `${what} as the vendor names ${named} (${names}), which nobody compared`;
    if (statement.dictionary !== modelDictionaryDigest(parsed))
      return {
        status: 'fail',
        detail: "the statement's dictionary is not that of the architecture",
        names: theirs,
      };
    if (!own)
      return {
        status: 'skipped',
        detail: `not compared: what ${parsed.number ? 'the label' : 'the classes'} ${names} mean${parsed.number ? 's' : ''} is the vendor's word; expected --dictionary FILE`,
        names: theirs,
      };
    const { same, detail } = compareDictionary(own, parsed);
    return {
      status: same ? 'pass' : 'fail',
      detail,
      names: `${what} as your own dictionary names ${named} (${names})`,
    };
  } catch (error) {
    return { status: 'fail', detail: messageOf(error), names: 'classes that nobody compared' };
  }
}

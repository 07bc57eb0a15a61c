/** Terms as a vendor writes them down: a JSON file in which whatever is left out is as in DEFAULT_TERMS. */
import { VouchError } from '../../protocols/errors.ts';
import { DEFAULT_TERMS, Terms } from '../../protocols/terms.ts';
import { readText } from '../home/files.ts';

const MAX_BYTES = 1024 * 1024;

/** Throws `bad-file`, which names the first member that is wrong. */
export function readTerms(file: string): Terms {
  const given: unknown = jsonOf(readText(file, 'terms', MAX_BYTES));
  const result = Terms.partial().safeParse(given);
  if (result.success) return Terms.parse({ ...DEFAULT_TERMS, ...result.data });
  const issue = result.error.issues[0];
  const member = ['terms', ...(issue?.path ?? [])].join('.');
  throw new VouchError('bad-file', `terms ${file}: ${member}: ${issue?.message ?? 'not terms'}`);
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

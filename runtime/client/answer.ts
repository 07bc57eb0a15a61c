/** What an answer says outside of its receipt has to be what receipt and manifest say: ids end in file names, labels on screens. */
import { answerName, parseArchitecture } from '../../circuits/model/architecture.ts';
import { VouchError } from '../../protocols/errors.ts';
import type { AnswerPlaintext } from '../../protocols/inference.ts';
import type { ModelManifest } from '../../protocols/manifest.ts';
import type { ReceiptReport } from '../../protocols/receipt.ts';

/** Throws `receipt-rejected`, which names the member that differs, and `bad-input` for a manifest with no architecture. */
export function demandConsistent(
  answer: AnswerPlaintext,
  { architecture, terms }: ModelManifest,
  { claims }: ReceiptReport,
): void {
  const label = answerName(parseArchitecture(architecture), answer.decision);
  const expected = { answers: terms.answers, label, receiptId: claims?.id };
  for (const [name, value] of Object.entries(expected)) {
    const got = answer[name as keyof typeof expected];
    if (got !== value)
      throw new VouchError('receipt-rejected', `answer.${name}: expected ${value ?? 'another'}, got ${got}`);
  }
}

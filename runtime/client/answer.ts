/** What an answer says outside of its receipt has to be what receipt and manifest say: ids end in file names, labels on screens. */
import { type Architecture, answerName, parseArchitecture } from '../../circuits/model/architecture.ts';
import { VouchError } from '../../protocols/errors.ts';
import type { AnswerPlaintext } from '../../protocols/inference.ts';
import type { ModelManifest } from '../../protocols/manifest.ts';
import type { ReceiptReport } from '../../protocols/receipt.ts';

/** Reading one takes as long as verifying a receipt, and a session has one manifest, which nobody changes. */
const read = new WeakMap<ModelManifest, Architecture>();

/** The manifest's architecture. Throws `bad-input`. */
export function architectureOf(manifest: ModelManifest): Architecture {
  const known = read.get(manifest) ?? parseArchitecture(manifest.architecture);
  read.set(manifest, known);
  return known;
}

/** Throws `receipt-rejected`, which names the member that differs, and `bad-input` for a manifest with no architecture. */
export function demandConsistent(
  answer: AnswerPlaintext,
  manifest: ModelManifest,
  { claims }: ReceiptReport,
): void {
  const label = answerName(architectureOf(manifest), answer.decision);
  const expected = { answers: manifest.terms.answers, label, receiptId: claims?.id };
  for (const [name, value] of Object.entries(expected)) {
    const got = answer[name as keyof typeof expected];
    if (got !== value)
      throw new VouchError('receipt-rejected', `answer.${name}: expected ${value ?? 'another'}, got ${got}`);
  }
}

/**
 * Makes test/vectors/composite-receipt.json: a receipt over composite evidence by made-up vendors, with policy,
 * collateral and roots, by which it was accepted. Run it only when the version of documents or receipts rises:
 *
 *   node_modules/.bin/node test/protocols/composite-vector.ts
 */
import { writeFileSync } from 'node:fs';
import { base64url } from '../../protocols/encoding.ts';
import { type Composite, composite, later, policyFor, receiptBy } from './composite-maker.ts';
import type { PageQuestion } from './composite-page.ts';

export const VECTOR = new URL('../vectors/composite-receipt.json', import.meta.url);

/** All that a verifier elsewhere needs, as JSON. */
export const pageQuestion = ({ files, roots }: Composite, bundle: Uint8Array): PageQuestion => ({
  bundle: base64url(bundle),
  policy: policyFor(),
  files: files.map(({ bytes }) => base64url(bytes)),
  now: later(20).toISOString(),
  roots: {
    intel: [...(roots.intel ?? [])],
    gpu: { device: [...(roots.gpu?.device ?? [])], rim: [...(roots.gpu?.rim ?? [])] },
  },
});

if (import.meta.main) {
  const made = await composite();
  const { bundle } = await receiptBy(made);
  writeFileSync(VECTOR, `${JSON.stringify(pageQuestion(made, bundle), null, 2)}\n`);
}

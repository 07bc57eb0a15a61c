/** What a page needs to verify a composite receipt: the code of protocols/, bundled by composite.browser.test.ts. */
import { sortFiles } from '../../protocols/attestation/evidence-files.ts';
import { parsePolicy } from '../../protocols/attestation/policy.ts';
import { fromBase64url } from '../../protocols/encoding.ts';
import { type ReceiptReport, verifyReceipt } from '../../protocols/receipt.ts';
import { generateSealingKeyPair, open, SEALING_INFO, sealTo } from '../../protocols/sealing.ts';

/** Bytes as base64url, so that it can be handed to a page. */
export interface PageQuestion {
  readonly bundle: string;
  readonly policy: unknown;
  readonly files: readonly string[];
  readonly now: string;
  /** of made-up vendors */
  readonly roots: { readonly intel: string[]; readonly gpu: { device: string[]; rim: string[] } };
}

const page = {
  async verify({ bundle, policy, files, now, roots }: PageQuestion): Promise<ReceiptReport> {
    const named = files.map((text, i) => ({ name: `file ${i}`, bytes: fromBase64url(text) }));
    return verifyReceipt(fromBase64url(bundle), {
      policy: parsePolicy(policy),
      now: new Date(now),
      collateral: sortFiles(named),
      roots,
    });
  },
  /** Whether a page can seal by X-Wing and open again. */
  async seal(): Promise<boolean> {
    const pair = await generateSealingKeyPair('x-wing');
    const { sealed } = await sealTo(pair.publicKey, Uint8Array.of(7), { info: SEALING_INFO.infer });
    return (await open(pair, sealed, { info: SEALING_INFO.infer })).plaintext[0] === 7;
  },
};
export type Page = typeof page;
Object.assign(globalThis, { vouch: page });

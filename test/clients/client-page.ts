/** What a page asks of `vouch/client`, bundled by browser.browser.test.ts as `npm pack` bundles it. */
import { verifyByWebCrypto, verifyEd25519 } from '../../protocols/ed25519.ts';
import { fromHex } from '../../protocols/encoding.ts';
import { openClient } from '../../runtime/client/index.ts';

export interface Question {
  readonly url: string;
  readonly creds: string;
  readonly policy: unknown;
  readonly vendor?: string;
  readonly rows: readonly (readonly string[])[];
}

const page = {
  /** What JavaScript and WebCrypto say of each signature here; undefined where this browser's WebCrypto has no Ed25519. */
  async verdicts(cases: readonly (readonly [key: string, message: string, signature: string])[]) {
    const has = await crypto.subtle.generateKey('Ed25519', false, ['sign', 'verify']).catch(() => undefined);
    const verdicts = [];
    for (const each of cases) {
      const [key, message, signature] = each.map((text) => fromHex(text)) as [
        Uint8Array,
        Uint8Array,
        Uint8Array,
      ];
      verdicts.push([
        verifyEd25519(key, message, signature),
        has && (await verifyByWebCrypto(key, message, signature)),
      ]);
    }
    return verdicts;
  },
  async decide({ url, creds, policy, vendor, rows }: Question) {
    const client = await openClient({ url, creds, policy, ...(vendor === undefined ? {} : { vendor }) });
    try {
      const made = await Promise.all(rows.map((row) => client.decide('tiny', row)));
      return made.map(({ answer, receipt }) => ({
        decision: answer.decision,
        verdict: receipt.verdict,
        label: receipt.claims?.label,
        failed: receipt.checks.filter(({ status }) => status === 'fail').map(({ id }) => id),
      }));
    } finally {
      await client.close();
    }
  },
};
export type Page = typeof page;
Object.assign(globalThis, { vouch: page });

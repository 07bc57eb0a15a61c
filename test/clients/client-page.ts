/** What a page asks of `vouch/client`, bundled by browser.browser.test.ts as `npm pack` bundles it. */
import { openClient } from '../../runtime/client/index.ts';

export interface Question {
  readonly url: string;
  readonly creds: string;
  readonly policy: unknown;
  readonly vendor?: string;
  readonly rows: readonly (readonly string[])[];
}

const page = {
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

/** A published proof among files, as the verifier's page gets them. */
import { utf8 } from '../../../protocols/encoding.ts';
import type { PublishedProof } from '../../../protocols/proof.ts';
import { verificationKeyDigest } from '../../../runtime/verdict/published-proof.ts';
import { judgeFiles } from '../../../runtime/verifier/files.ts';

/** The verdict on the proof, with its key trusted; `files`: text by name. */
export async function judgePile(published: PublishedProof, policy: object, files: Record<string, string>) {
  const all = { 'proof.json': JSON.stringify(published), 'policy.json': JSON.stringify(policy), ...files };
  const { judged, used, unused } = await judgeFiles(
    Object.entries(all).map(([name, text]) => ({ name, bytes: utf8(text) })),
    {
      now: new Date(),
      job: published.record.job,
      trustKey: verificationKeyDigest(published.record.verificationKey),
    },
  );
  const { accepted, checks } = judged[0]!.judgement;
  return {
    accepted,
    failed: checks.filter(({ status }) => status === 'fail').map(({ id }) => id),
    row: checks.find(({ id }) => id === 'proof.row')?.status,
    used: Object.fromEntries(used.map(({ name, as }) => [name, as])),
    unused: unused.map(({ name }) => name),
  };
}

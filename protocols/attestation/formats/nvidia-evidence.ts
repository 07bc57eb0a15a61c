/**
 * Evidence of a machine's GPUs and switches among other things at hand: finds the chain whose key signed a report that
 * came without one, and the manifests that are about these devices, and verifies all devices together (nvidia-gpu.ts).
 */
import { equal, fromHex } from '../../encoding.ts';
import { VouchError } from '../../errors.ts';
import type { Certificate } from '../certificate.ts';
import { certificatesOf, crlsOf, type Manifest, ocspOf } from '../collateral.ts';
import type { Parsed } from '../parsed.ts';
import { verifyEcdsa, verifySignature } from '../signature.ts';
import { type Part, type Piece, type Question, withPlatform } from './format.ts';
import { type Answer, verifyGpu } from './nvidia-gpu.ts';
import type { GpuReport, SwitchReport } from './nvidia-report.ts';
import { type RimTrust, verifyRim } from './rim.ts';

type Report = GpuReport | SwitchReport;

/** All devices together; without any, and where the policy does not count on some, each manifest by itself. */
export async function judgeNvidia(pieces: readonly Piece<Report>[], question: Question): Promise<Part[]> {
  const { given, policy, withCpu } = question;
  const { gpu } = policy;
  const missing = withCpu && policy.platforms.includes('nvidia-gpu') && gpu.count !== undefined;
  if (pieces.length > 0 || missing) return [await judgeDevices(pieces, question)];
  const trust: RimTrust = {
    crls: crlsOf('other', question),
    ocsp: ocspOf(question),
    revocation: gpu.revocation,
    now: question.now,
    roots: question.roots?.gpu?.rim,
  };
  const parts: Part[] = [];
  for (const manifest of given.manifests) parts.push(await judgeManifest(manifest, trust));
  return parts;
}

async function judgeDevices(pieces: readonly Piece<Report>[], question: Question): Promise<Part> {
  const { given, store, policy, now, nonce, guest, roots } = question;
  const named = certificatesOf('other', given);
  const kept = certificatesOf('other', store);
  const pool = [...named, ...kept].filter(({ authority }) => authority);
  const gpus: Answer<GpuReport>[] = [];
  const switches: Answer<SwitchReport>[] = [];
  for (const piece of pieces) {
    const own = piece.certificates;
    const certificates =
      own === undefined
        ? { certificates: await signerOf(piece, [named, kept], pool), pool }
        : { certificates: own };
    if (piece.format === 'nvidia-switch') {
      switches.push({ ...certificates, report: () => expect('switch', piece.parsed()) });
    } else gpus.push({ ...certificates, report: () => expect('gpu', piece.parsed()) });
  }
  const result = await verifyGpu({
    gpus,
    switches,
    rims: given.manifests,
    storedRims: store.manifests,
    nonce: nonce === undefined ? undefined : fromHex(nonce),
    crls: crlsOf('other', question),
    ocsp: ocspOf(question),
    policy: policy.gpu,
    now,
    guest,
    roots: roots?.gpu,
  });
  const claims = [...result.claims, ...(result.switches.length > 0 ? [{ switches: result.switches }] : [])];
  return withPlatform({ ...result, claims }, 'nvidia-gpu', 'gpu', policy);
}

/** What a format's parser gave is of that format. */
function expect<Device extends Report['device']>(
  device: Device,
  report: Report,
): Extract<Report, { readonly device: Device }>;
function expect(device: Report['device'], report: Report): Report {
  if (report.device !== device) throw new TypeError(`expected the report of a ${device}`);
  return report;
}

/** What the parser gives; undefined when the bytes are no report, which its checks say. */
function read<T>(parsed: Parsed<T>): T | undefined {
  try {
    return parsed();
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    return undefined;
  }
}

/**
 * The certificate of the key that signed a report: of those given, else of those in store. Where several are of that key,
 * one that some issuer at hand signed; where none is, any, to be refused by its own checks.
 */
async function signerOf(
  { parsed }: Piece<Report>,
  sources: readonly (readonly Certificate[])[],
  pool: readonly Certificate[],
): Promise<Parsed<readonly Certificate[]>> {
  const leaves = sources.map((all) =>
    all.filter(({ authority }) => !authority).sort((a, b) => (a.fingerprint < b.fingerprint ? -1 : 1)),
  );
  const report = read(parsed);
  if (report !== undefined) {
    for (const some of leaves) {
      const signers: Certificate[] = [];
      for (const leaf of some) {
        if (await verifyEcdsa(leaf.key, 'SHA-384', report.signature, report.signed)) signers.push(leaf);
      }
      if (signers.length === 0) continue;
      for (const leaf of signers) if (await isCertified(leaf, pool)) return () => [leaf];
      return () => signers.slice(0, 1);
    }
  }
  const [any] = leaves.flat();
  return () => (any === undefined ? [] : [any]);
}

async function isCertified(leaf: Certificate, pool: readonly Certificate[]): Promise<boolean> {
  for (const { subject, key } of pool) {
    if (!equal(subject, leaf.issuer)) continue;
    if (await verifySignature(key, leaf.algorithm, leaf.signature, leaf.signed)) return true;
  }
  return false;
}

async function judgeManifest(manifest: Manifest, trust: RimTrust): Promise<Part> {
  const { rim, ...part } = await verifyRim(manifest, trust);
  if (rim === undefined) return part;
  const { kind, version, product } = rim;
  return { ...part, claims: { manifest: { kind, version, product } } };
}

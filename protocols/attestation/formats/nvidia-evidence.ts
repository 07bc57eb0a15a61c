/**
 * Evidence of a machine's GPUs and switches among other things at hand: finds the chain whose key signed a report that
 * came without one, and the manifests that are about these devices, and verifies all devices together (nvidia-gpu.ts).
 */
import { equal, fromHex } from '../../encoding.ts';
import { VouchError } from '../../errors.ts';
import type { Certificate } from '../certificate.ts';
import { certificatesOf, crlsOf, type Manifest } from '../collateral.ts';
import type { Parsed } from '../parsed.ts';
import { verifyEcdsa } from '../signature.ts';
import { type Part, type Piece, type Question, withPlatform } from './format.ts';
import { type Answer, verifyGpu } from './nvidia-gpu.ts';
import type { GpuReport, SwitchReport } from './nvidia-report.ts';
import { verifyRim } from './rim.ts';

type Report = GpuReport | SwitchReport;

/** All devices together; without any, and where the policy does not count on some, each manifest by itself. */
export async function judgeNvidia(pieces: readonly Piece<Report>[], question: Question): Promise<Part[]> {
  const { given, policy, withCpu } = question;
  const { gpu } = policy;
  const missing = withCpu && policy.platforms.includes('nvidia-gpu') && gpu.count !== undefined;
  if (pieces.length > 0 || missing) return [await judgeDevices(pieces, question)];
  const trust = { crls: crlsOf('other', question), revocation: gpu.revocation, now: question.now };
  const parts: Part[] = [];
  for (const manifest of given.manifests) parts.push(await judgeManifest(manifest, trust));
  return parts;
}

async function judgeDevices(pieces: readonly Piece<Report>[], question: Question): Promise<Part> {
  const { given, store, policy, now, nonce, guest, roots } = question;
  const named = chainsOf(certificatesOf('other', given));
  const chains = named.length > 0 ? named : chainsOf(certificatesOf('other', store));
  const versions = new Set(pieces.flatMap(firmwareOf));
  const gpus: Answer<GpuReport>[] = [];
  const switches: Answer<SwitchReport>[] = [];
  for (const piece of pieces) {
    const certificates = piece.certificates ?? (await signerOf(piece, chains));
    if (piece.format === 'nvidia-switch') {
      switches.push({ certificates, report: () => expect('switch', piece.parsed()) });
    } else gpus.push({ certificates, report: () => expect('gpu', piece.parsed()) });
  }
  const result = await verifyGpu({
    gpus,
    switches,
    rims: [...given.manifests, ...store.manifests.filter((manifest) => isFor(manifest, versions))],
    nonce: nonce === undefined ? undefined : fromHex(nonce),
    crls: crlsOf('other', question),
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

/** The versions that a device's manifests have to be for; none when its report cannot be read. */
function firmwareOf({ parsed }: Piece<Report>): string[] {
  const report = read(parsed);
  if (report === undefined) return [];
  return report.device === 'switch' ? [report.biosVersion] : [report.driverVersion, report.vbiosVersion];
}

/** Whether a manifest in store is for one of these versions; others are other machines' matter. */
function isFor(manifest: Manifest, versions: ReadonlySet<string>): boolean {
  const rim = read(manifest);
  return rim !== undefined && versions.has(rim.version.toUpperCase());
}

/** From every end entity up, by names alone. */
function chainsOf(certificates: readonly Certificate[]): Certificate[][] {
  return certificates
    .filter(({ authority }) => !authority)
    .map((leaf) => {
      const chain = [leaf];
      for (let last = leaf; !equal(last.subject, last.issuer); last = chain.at(-1)!) {
        const issuer = certificates.find((one) => equal(one.subject, last.issuer) && !chain.includes(one));
        if (issuer === undefined) break;
        chain.push(issuer);
      }
      return chain;
    });
}

/** The chain whose key signed the report; the first one, to be refused by its own checks, when none did. */
async function signerOf(
  { parsed }: Piece<Report>,
  chains: readonly Certificate[][],
): Promise<Parsed<readonly Certificate[]>> {
  let signer = chains[0] ?? [];
  const report = read(parsed);
  if (report !== undefined) {
    for (const chain of chains) {
      if (await verifyEcdsa(chain[0]!.key, 'SHA-384', report.signature, report.signed)) signer = chain;
    }
  }
  return () => signer;
}

async function judgeManifest(manifest: Manifest, trust: Parameters<typeof verifyRim>[1]): Promise<Part> {
  const { rim, ...part } = await verifyRim(manifest, trust);
  if (rim === undefined) return part;
  const { kind, version, product } = rim;
  return { ...part, claims: { manifest: { kind, version, product } } };
}

/**
 * Makes the JSON in which services hand out evidence, and dstack's event log, around evidence of the made-up vendors;
 * spellings as in the sources that protocols/attestation/evidence-json.ts names. For tests only.
 */
import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { concat, hex, sha256, utf8 } from '../../protocols/encoding.ts';
import { NONCE as GPU_NONCE, gpu, report, type Vendor, vendor } from './gpu-maker.ts';
import { type Case, intelCase, makeQuote, type Options } from './intel-platform.ts';

export const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
export const pem = (...ders: readonly Uint8Array[]): string =>
  ders.map((der) => `-----BEGIN CERTIFICATE-----\n${base64(der)}\n-----END CERTIFICATE-----\n`).join('');
export const json = (value: unknown): Uint8Array => utf8(JSON.stringify(value));
const sha384 = (...parts: readonly Uint8Array[]): Uint8Array =>
  new Uint8Array(
    createHash('sha384')
      .update(concat(...parts))
      .digest(),
  );

const RUNTIME = 0x08000001;
const BOOT = 0x80000007;

export interface LogEvent {
  readonly imr: number;
  readonly event_type: number;
  readonly digest: string;
  readonly event: string;
  readonly event_payload: string;
  readonly version?: string;
}

const runtimeDigest = (name: string, payload: Uint8Array, version: 1 | 2): Uint8Array =>
  version === 1
    ? sha384(Uint8Array.of(1, 0, 0, 8), utf8(`:${name}:`), payload)
    : sha384(utf8(`{"name":"${name}","payload":"${hex(payload)}","type":${RUNTIME}}`));

export const runtimeEvent = (
  name: string,
  payload: Uint8Array,
  { version = 1, stated = true }: { version?: 1 | 2; stated?: boolean } = {},
): LogEvent => ({
  imr: 3,
  event_type: RUNTIME,
  digest: stated ? hex(runtimeDigest(name, payload, version)) : '',
  event: name,
  event_payload: hex(payload),
  ...(version === 2 ? { version: 'V2' } : {}),
});
export const bootEvent = (imr: number, text: string, stripped = false): LogEvent => ({
  imr,
  event_type: BOOT,
  digest: hex(sha384(utf8(text))),
  event: '',
  event_payload: stripped ? '' : hex(utf8(text)),
});

export const COMPOSE = new Uint8Array(32).fill(0xc0);
export const LOG: readonly LogEvent[] = [
  bootEvent(0, 'firmware'),
  bootEvent(1, 'loader', true),
  bootEvent(2, 'kernel'),
  runtimeEvent('system-preparing', new Uint8Array(0)),
  runtimeEvent('compose-hash', COMPOSE, { stated: false }),
  runtimeEvent('app-id', COMPOSE.subarray(0, 20), { version: 2 }),
];

/** RTMR0 to RTMR3 after these events. */
export function registersOf(log: readonly LogEvent[]): Uint8Array[] {
  const registers = [0, 1, 2, 3].map(() => new Uint8Array(48) as Uint8Array);
  for (const { imr, digest, event, event_payload: payload, version } of log) {
    const bytes = Uint8Array.from(Buffer.from(payload, 'hex'));
    const own =
      digest === '' ? runtimeDigest(event, bytes, version === 'V2' ? 2 : 1) : Buffer.from(digest, 'hex');
    registers[imr] = sha384(registers[imr]!, own);
  }
  return registers;
}

const le = (value: number, bytes: number): Uint8Array =>
  Uint8Array.from({ length: bytes }, (_, i) => Math.floor(value / 256 ** i) % 256);

/** A crypto agile log (TCG PC Client Platform Firmware Profile) with SHA-384 alone: register, type, payload each. */
export function binaryLog(
  events: readonly { register: number; type: number; payload: Uint8Array; digest?: Uint8Array }[],
): Uint8Array {
  const header = concat(
    utf8('Spec ID Event03\0'),
    le(0, 4),
    Uint8Array.of(0, 2, 0, 2),
    le(1, 4),
    le(0x0c, 2),
    le(48, 2),
    Uint8Array.of(0),
  );
  return concat(
    le(1, 4),
    le(3, 4),
    new Uint8Array(20),
    le(header.length, 4),
    header,
    ...events.flatMap(({ register, type, payload, digest = sha384(payload) }) => [
      le(register, 4),
      le(type, 4),
      le(1, 4),
      le(0x0c, 2),
      digest,
      le(payload.length, 4),
      payload,
    ]),
    new Uint8Array(64).fill(0xff),
  );
}

/** An event of Confidential Containers' attestation agent: EV_EVENT_TAG with the id "AAEL". */
export const aael = (text: string): Uint8Array => concat(le(0x4141454c, 4), le(text.length, 4), utf8(text));

const reporting = (reportData: Uint8Array, log: readonly LogEvent[]): Options => ({
  report: (body) => {
    body.set(concat(...registersOf(log)), 328);
    body.set(concat(reportData, new Uint8Array(64 - reportData.length)), 520);
  },
});

/** A TD with this report data and these registers. */
export const td = (reportData: Uint8Array, log: readonly LogEvent[] = LOG): Promise<Case> =>
  intelCase(reporting(reportData, log));

/** Another TD of the same platform. */
export const tdBeside = async (
  of: Case,
  reportData: Uint8Array,
  log: readonly LogEvent[],
): Promise<Case> => ({
  ...of,
  quote: await makeQuote(of.signers, reporting(reportData, log)),
});

const makers: Vendor = await vendor();
const card = await gpu(makers);
export const gpuRoots = { device: [hex(sha256(card.chain.at(-1)!))], rim: [] };

/** One device as NVIDIA's tools write it. */
export async function device(
  nonce: Uint8Array = GPU_NONCE,
): Promise<{ evidence: Uint8Array; chain: string }> {
  return { evidence: await report(card, { nonce }), chain: pem(...card.chain) };
}

export const nvidiaEntry = ({ evidence, chain }: Awaited<ReturnType<typeof device>>, more: object = {}) => ({
  arch: 'HOPPER',
  nonce: '00',
  evidence: base64(evidence),
  certificate: base64(utf8(chain)),
  ...more,
});

export const tinfoil = (kind: 'tdx' | 'sev-snp', evidence: Uint8Array, packed = true) => ({
  format: `https://tinfoil.sh/predicate/${kind}-guest/v2`,
  body: base64(packed ? new Uint8Array(gzipSync(evidence)) : evidence),
});

/** A report by a Turin, of version 5, as Confidential Containers' attester takes it apart. */
export function snpJson(report: Uint8Array): Record<string, unknown> {
  const bytes = (at: number, length: number) => [...report.subarray(at, at + length)];
  const number = (at: number, length: number) =>
    bytes(at, length).reduceRight((sum, byte) => sum * 256 + byte, 0);
  const tcb = (at: number) => {
    const [fmc, bootloader, tee, snp, , , , microcode] = bytes(at, 8);
    return { fmc, bootloader, tee, snp, microcode };
  };
  const firmware = (at: number) => {
    const [build, minor, major] = bytes(at, 3);
    return { major, minor, build };
  };
  return {
    version: number(0, 4),
    guest_svn: number(4, 4),
    policy: number(8, 8),
    family_id: bytes(0x10, 16),
    image_id: bytes(0x20, 16),
    vmpl: number(0x30, 4),
    sig_algo: number(0x34, 4),
    current_tcb: tcb(0x38),
    plat_info: number(0x40, 8),
    key_info: number(0x48, 4),
    report_data: bytes(0x50, 64),
    measurement: bytes(0x90, 48),
    host_data: bytes(0xc0, 32),
    id_key_digest: bytes(0xe0, 48),
    author_key_digest: bytes(0x110, 48),
    report_id: bytes(0x140, 32),
    report_id_ma: bytes(0x160, 32),
    reported_tcb: tcb(0x180),
    cpuid_fam_id: number(0x188, 1),
    cpuid_mod_id: number(0x189, 1),
    cpuid_step: number(0x18a, 1),
    chip_id: bytes(0x1a0, 64),
    committed_tcb: tcb(0x1e0),
    current: firmware(0x1e8),
    committed: firmware(0x1ec),
    launch_tcb: tcb(0x1f0),
    launch_mit_vector: number(0x1f8, 8),
    current_mit_vector: number(0x200, 8),
    signature: { r: bytes(0x2a0, 72), s: bytes(0x2a0 + 72, 72) },
  };
}

/**
 * Simulated evidence: the shape of a hardware report without any hardware. It protects nothing, says
 * `hardware: false`, and is refused by every policy that does not ask for it and pin its root.
 *
 * Three Ed25519 keys stand for a vendor's chain: root -> device -> quote. All of it is deterministic CBOR
 * (protocols/cbor.ts) and COSE_Sign1 statements (protocols/cose.ts):
 *
 *   evidence = {"v": 1, "root": bstr 32, "device": bstr, "quote": bstr}
 *   root     = the root's public key; a policy pins SHA-256 of these 32 bytes
 *   device   = statement "application/vouch-simulated-device+cbor" by the root over
 *              {"v": 1, "key": bstr 32}                        the device's public key
 *   quote    = statement "application/vouch-simulated-quote+cbor" by the device over
 *              {"v": 2, "platform": "simulated", "hardware": false, "measurement": bstr 48, "debug": bool,
 *               "tcb": uint, "reportData": bstr 64}
 *
 * A SIMULATED GPU answers a nonce in the same way, with another quote:
 *
 *   quote    = statement "application/vouch-simulated-gpu+cbor" by the device over
 *              {"v": 1, "platform": "simulated-gpu", "hardware": false, "nonce": bstr 32}
 *
 * Unknown versions and fields are refused. The TCB has one component.
 */
import { z } from 'zod';
import { byteString, byteStringBetween, decodeCbor, encodeCbor } from '../../cbor.ts';
import {
  generateSigner,
  SIGNATURE_KEY_BYTES,
  type Signer,
  signerFromSeed,
  signStatement,
  unverifiedPayload,
  verifyStatement,
} from '../../cose.ts';
import { equal, fromHex, hex, sha256Hex } from '../../encoding.ts';
import { VouchError } from '../../errors.ts';
import { attempting, type Checklist, createChecklist } from '../checklist.ts';
import type { Demands } from '../demands.ts';
import { MAX_SIMULATED_BYTES, MAX_SIMULATED_STATEMENT_BYTES } from '../limits.ts';
import type { Parsed } from '../parsed.ts';
import { REPORT_DATA_BYTES } from '../report-data.ts';
import type { Part, Piece, Question } from './format.ts';

export const SIMULATED = 'simulated';
export const SIMULATED_GPU = 'simulated-gpu';
export const MEASUREMENT_BYTES = 48;
const LIMITS = { maxPayloadBytes: MAX_SIMULATED_STATEMENT_BYTES };
const DEVICE_TYPE = 'application/vouch-simulated-device+cbor';
const QUOTE_TYPE = 'application/vouch-simulated-quote+cbor';
const GPU_TYPE = 'application/vouch-simulated-gpu+cbor';
const NONCE_BYTES = 32;

const Evidence = z.strictObject({
  v: z.literal(1),
  root: byteString(SIGNATURE_KEY_BYTES),
  device: byteStringBetween(1, MAX_SIMULATED_STATEMENT_BYTES),
  quote: byteStringBetween(1, MAX_SIMULATED_STATEMENT_BYTES),
});
const Device = z.strictObject({ v: z.literal(1), key: byteString(SIGNATURE_KEY_BYTES) });
const Quote = z.strictObject({
  v: z.literal(2),
  platform: z.literal(SIMULATED),
  hardware: z.literal(false),
  measurement: byteString(MEASUREMENT_BYTES),
  debug: z.boolean(),
  tcb: z.int().min(0).max(65535),
  reportData: byteString(REPORT_DATA_BYTES),
});
const GpuQuote = z.strictObject({
  v: z.literal(1),
  platform: z.literal(SIMULATED_GPU),
  hardware: z.literal(false),
  nonce: byteString(NONCE_BYTES),
});

export interface SimulatedRoot {
  readonly signer: Signer;
  /** SHA-256 of the public key, lower-case hex: what a policy pins */
  readonly fingerprint: string;
}

/** A root from its 32-byte seed, which is all there is to keep; without one, a fresh root that cannot be kept. */
export async function createSimulatedRoot(seed?: Uint8Array): Promise<SimulatedRoot> {
  const signer = seed === undefined ? await generateSigner() : await signerFromSeed(seed);
  return { signer, fingerprint: sha256Hex(signer.publicKey) };
}

export interface SimulatedPlatform {
  readonly root: Uint8Array;
  readonly device: Uint8Array;
  readonly signer: Signer;
  readonly debug: boolean;
  readonly tcb: number;
}

/** A device certified by `root`; without a `signer` its key lives as long as the object. */
export async function createSimulatedPlatform(
  root: SimulatedRoot,
  options: { debug?: boolean; tcb?: number; signer?: Signer } = {},
): Promise<SimulatedPlatform> {
  const { debug = false, tcb = 1, signer = await generateSigner() } = options;
  const device = await signStatement(root.signer, DEVICE_TYPE, encodeCbor({ v: 1, key: signer.publicKey }));
  return { root: root.signer.publicKey, device, signer, debug, tcb };
}

/** SIMULATED evidence over `reportData` (64 bytes) for code with this measurement (48 bytes as lower-case hex). */
export async function quote(
  { root, device, signer, debug, tcb }: SimulatedPlatform,
  { measurement, reportData }: { measurement: string; reportData: Uint8Array },
): Promise<Uint8Array> {
  if (reportData.length !== REPORT_DATA_BYTES) {
    throw new RangeError(`report data: expected ${REPORT_DATA_BYTES} bytes`);
  }
  const payload = encodeCbor({
    v: 2,
    platform: SIMULATED,
    hardware: false,
    measurement: fromHex(measurement, 'measurement', MEASUREMENT_BYTES),
    debug,
    tcb,
    reportData,
  });
  return encodeCbor({ v: 1, root, device, quote: await signStatement(signer, QUOTE_TYPE, payload) });
}

/** The answer of a SIMULATED GPU to a nonce of 32 bytes. */
export async function gpuQuote(
  { root, device, signer }: SimulatedPlatform,
  nonce: Uint8Array,
): Promise<Uint8Array> {
  if (nonce.length !== NONCE_BYTES) throw new RangeError(`GPU nonce: expected ${NONCE_BYTES} bytes`);
  const payload = encodeCbor({ v: 1, platform: SIMULATED_GPU, hardware: false, nonce });
  return encodeCbor({ v: 1, root, device, quote: await signStatement(signer, GPU_TYPE, payload) });
}

/** The outer form of simulated evidence, of a platform and of a GPU alike: what the root and the device signed. */
export type SimulatedEvidence = z.infer<typeof Evidence>;

/** Throws `bad-message` or `too-large`. */
export const parseSimulated = (bytes: Uint8Array): SimulatedEvidence =>
  decodeCbor(bytes, { schema: Evidence, what: 'simulated evidence', maxBytes: MAX_SIMULATED_BYTES });

/** Whether bytes are simulated evidence whose quote says that it is of this type; no signature is looked at. */
function isSimulated(bytes: Uint8Array, type: string): boolean {
  // A map of four; most other files are told apart by it.
  if (bytes[0] !== 0xa4) return false;
  try {
    unverifiedPayload(type, parseSimulated(bytes).quote, LIMITS);
    return true;
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    return false;
  }
}
export const isSimulatedQuote = (bytes: Uint8Array): boolean => isSimulated(bytes, QUOTE_TYPE);
export const isSimulatedGpuQuote = (bytes: Uint8Array): boolean => isSimulated(bytes, GPU_TYPE);

/** What a policy has to say before simulations count. */
export type SimulationPolicy = Pick<Demands, 'simulated' | 'simulatedRoots'>;

/**
 * Checks `evidence` up to the payload of its quote; the checks are named `<prefix>.encoding` and so on. Returns the
 * payload and the device's key when the signatures hold.
 */
function verifyQuote<T>(
  evidence: Parsed<SimulatedEvidence>,
  policy: SimulationPolicy,
  { type, schema, prefix }: { type: string; schema: z.ZodType<T>; prefix: string },
  { require, record }: Checklist,
): { claims: T; device: Uint8Array } | undefined {
  const attempt = attempting(record);
  const id = (name: string) => `${prefix}.${name}`;
  require(['policy.simulated-allowed', ...CHECKS.map(id)]);
  record(
    'policy.simulated-allowed',
    policy.simulated,
    'policy-rejected',
    policy.simulated ? 'the policy accepts simulated evidence' : 'the policy accepts hardware evidence only',
  );
  const maxBytes = MAX_SIMULATED_BYTES;
  const parts = attempt(id('encoding'), evidence, () => 'deterministic CBOR, version 1');
  if (parts === undefined) return undefined;
  const fingerprint = sha256Hex(parts.root);
  const pinned = policy.simulatedRoots.includes(fingerprint);
  record(
    id('root-pinned'),
    pinned,
    'policy-rejected',
    `root ${fingerprint.slice(0, 16)} is ${pinned ? '' : 'not '}pinned by the policy`,
  );
  const device = attempt(
    id('chain'),
    () =>
      decodeCbor(verifyStatement(parts.root, DEVICE_TYPE, parts.device, LIMITS), {
        schema: Device,
        what: 'simulated device',
        maxBytes,
      }),
    () => 'the root certifies the device',
  );
  if (device === undefined) return undefined;
  const payload = attempt(
    id('signature'),
    () => verifyStatement(device.key, type, parts.quote, LIMITS),
    () => 'the device signed the quote',
  );
  if (payload === undefined) return undefined;
  const claims = attempt(
    id('claims'),
    () => decodeCbor(payload, { schema, what: 'simulated quote', maxBytes }),
    () => 'a quote of a known version, hardware: false',
  );
  return claims === undefined ? undefined : { claims, device: device.key };
}
const CHECKS = ['encoding', 'root-pinned', 'chain', 'signature', 'claims'] as const;

/** The simulated platform of a document, its TCB included. Nothing when there is none. */
export async function judgeSimulated(
  pieces: readonly Piece<SimulatedEvidence>[],
  { policy }: Question,
): Promise<Part[]> {
  const parts: Part[] = [];
  for (const { parsed } of pieces) {
    const list = createChecklist(['policy.tcb']);
    const verified = verifyQuote(
      parsed,
      policy,
      { type: QUOTE_TYPE, schema: Quote, prefix: SIMULATED },
      list,
    );
    if (verified === undefined) parts.push(list.result(''));
    else {
      const { debug, tcb, reportData } = verified.claims;
      const least = policy.minimumTcb[SIMULATED];
      list.record(
        'policy.tcb',
        least?.length === 1 && tcb >= least[0]!,
        'policy-rejected',
        `TCB ${tcb}, at least ${least?.join('.') ?? '(none stated)'} demanded`,
      );
      const measurement = hex(verified.claims.measurement);
      const registers = { measurement };
      parts.push({
        ...list.result(''),
        cpu: { platform: SIMULATED, measurement, registers, debug, reportData },
      });
    }
  }
  return parts;
}

/** All simulated GPUs of a document: each answers the nonce, and they are different ones. */
export async function judgeSimulatedGpus(
  pieces: readonly Piece<SimulatedEvidence>[],
  { policy, nonce, guest }: Question,
): Promise<Part[]> {
  if (pieces.length === 0) return [];
  const list = createChecklist(['gpu.platform-allowed', 'gpu.count', 'gpu.cc-mode', 'gpu.ready']);
  const { record } = list;
  record(
    'gpu.platform-allowed',
    policy.platforms.includes(SIMULATED),
    'policy-rejected',
    `the policy accepts ${policy.platforms.join(', ')}`,
  );
  const { count } = policy.gpu;
  const found = `${pieces.length} GPUs`;
  if (count === undefined) list.omit('gpu.count', `${found}, no number demanded`);
  else record('gpu.count', pieces.length === count, 'policy-rejected', `${found}, ${count} demanded`);
  if (guest !== undefined) {
    record('gpu.cc-mode', guest.ccMode === 'on', 'policy-rejected', `CC mode is ${guest.ccMode}`);
    record('gpu.ready', guest.ready, 'policy-rejected', `the GPUs are ${guest.ready ? '' : 'not '}ready`);
  }
  list.require(['gpu.distinct']);
  const devices = new Set<string>();
  for (const [i, { parsed }] of pieces.entries()) {
    const prefix = i === 0 ? 'gpu' : `gpu.${i + 1}`;
    list.require([`${prefix}.nonce`]);
    const verified = verifyQuote(parsed, policy, { type: GPU_TYPE, schema: GpuQuote, prefix }, list);
    if (verified === undefined) continue;
    const fresh = nonce !== undefined && equal(verified.claims.nonce, fromHex(nonce));
    const detail = fresh ? 'it answers this very evidence' : 'it answers another question';
    record(`${prefix}.nonce`, fresh, 'evidence-rejected', detail);
    devices.add(sha256Hex(verified.device));
  }
  record(
    'gpu.distinct',
    devices.size === pieces.length,
    'evidence-rejected',
    `${devices.size} different of ${pieces.length}`,
  );
  return [list.result('')];
}

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
  verifyStatement,
} from '../../cose.ts';
import { equal, fromHex, hex, sha256Hex } from '../../encoding.ts';
import { attempting, type Checklist } from '../checklist.ts';
import { REPORT_DATA_BYTES } from '../report-data.ts';

export const SIMULATED = 'simulated';
export const SIMULATED_GPU = 'simulated-gpu';
export const MEASUREMENT_BYTES = 48;
const MAX_EVIDENCE_BYTES = 2048;
const MAX_STATEMENT_BYTES = 1024;
const LIMITS = { maxPayloadBytes: MAX_STATEMENT_BYTES };
const DEVICE_TYPE = 'application/vouch-simulated-device+cbor';
const QUOTE_TYPE = 'application/vouch-simulated-quote+cbor';
const GPU_TYPE = 'application/vouch-simulated-gpu+cbor';
const NONCE_BYTES = 32;

const Evidence = z.strictObject({
  v: z.literal(1),
  root: byteString(SIGNATURE_KEY_BYTES),
  device: byteStringBetween(1, MAX_STATEMENT_BYTES),
  quote: byteStringBetween(1, MAX_STATEMENT_BYTES),
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

/** What a policy has to say before simulations count. */
export interface SimulationPolicy {
  readonly simulated: boolean;
  readonly simulatedRoots: readonly string[];
}

/**
 * Checks `evidence` up to the payload of its quote; the checks are named `<prefix>.encoding` and so on. Returns the
 * payload and the device's key when the signatures hold.
 */
function verifyQuote<T>(
  evidence: Uint8Array,
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
  const what = 'simulated evidence';
  const maxBytes = MAX_EVIDENCE_BYTES;
  const parts = attempt(
    id('encoding'),
    () => decodeCbor(evidence, { schema: Evidence, what, maxBytes }),
    () => 'deterministic CBOR, version 1',
  );
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

export interface SimulatedClaims {
  readonly platform: typeof SIMULATED;
  readonly measurement: string;
  readonly debug: boolean;
  readonly tcb: readonly number[];
  readonly reportData: Uint8Array;
}

/** Records its checks and returns the claims when the signatures hold. Does not throw for bad evidence. */
export function verifySimulated(
  evidence: Uint8Array,
  policy: SimulationPolicy,
  list: Checklist,
): SimulatedClaims | undefined {
  const verified = verifyQuote(
    evidence,
    policy,
    { type: QUOTE_TYPE, schema: Quote, prefix: SIMULATED },
    list,
  );
  if (verified === undefined) return undefined;
  const { measurement, debug, tcb, reportData } = verified.claims;
  return { platform: SIMULATED, measurement: hex(measurement), debug, tcb: [tcb], reportData };
}

/** Records its checks: each GPU answers `nonce`, and they are different ones. Does not throw for bad evidence. */
export function verifySimulatedGpus(
  evidence: readonly Uint8Array[],
  nonce: Uint8Array,
  policy: SimulationPolicy,
  list: Checklist,
): void {
  list.require(['gpu.distinct']);
  const devices = new Set<string>();
  evidence.forEach((one, i) => {
    const prefix = i === 0 ? 'gpu' : `gpu.${i + 1}`;
    list.require([`${prefix}.nonce`]);
    const verified = verifyQuote(one, policy, { type: GPU_TYPE, schema: GpuQuote, prefix }, list);
    if (verified === undefined) return;
    const fresh = equal(verified.claims.nonce, nonce);
    const detail = fresh ? 'it answers this very evidence' : 'it answers another question';
    list.record(`${prefix}.nonce`, fresh, 'evidence-rejected', detail);
    devices.add(sha256Hex(verified.device));
  });
  list.record(
    'gpu.distinct',
    devices.size === evidence.length,
    'evidence-rejected',
    `${devices.size} different of ${evidence.length}`,
  );
}

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
 *              {"v": 1, "platform": "simulated", "hardware": false, "measurement": bstr 48, "debug": bool,
 *               "tcb": uint, "reportData": bstr 64, "issuedAt": uint (seconds since 1970)}
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
import { fromHex, hex, sha256Hex } from '../../encoding.ts';
import { messageOf, VouchError } from '../../errors.ts';
import { REPORT_DATA_BYTES } from '../report-data.ts';
import type { Claims, EvidenceFormat } from '../verify.ts';

export const SIMULATED = 'simulated';
export const MEASUREMENT_BYTES = 48;
const MAX_EVIDENCE_BYTES = 2048;
const MAX_STATEMENT_BYTES = 1024;
const LIMITS = { maxPayloadBytes: MAX_STATEMENT_BYTES };
const DEVICE_TYPE = 'application/vouch-simulated-device+cbor';
const QUOTE_TYPE = 'application/vouch-simulated-quote+cbor';

const Evidence = z.strictObject({
  v: z.literal(1),
  root: byteString(SIGNATURE_KEY_BYTES),
  device: byteStringBetween(1, MAX_STATEMENT_BYTES),
  quote: byteStringBetween(1, MAX_STATEMENT_BYTES),
});
const Device = z.strictObject({ v: z.literal(1), key: byteString(SIGNATURE_KEY_BYTES) });
const Quote = z.strictObject({
  v: z.literal(1),
  platform: z.literal(SIMULATED),
  hardware: z.literal(false),
  measurement: byteString(MEASUREMENT_BYTES),
  debug: z.boolean(),
  tcb: z.int().min(0).max(65535),
  reportData: byteString(REPORT_DATA_BYTES),
  issuedAt: z
    .int()
    .min(0)
    .max(2 ** 40),
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

/**
 * SIMULATED evidence over `reportData` (64 bytes) for code with this measurement (48 bytes as lower-case hex).
 * `time` is cut to seconds.
 */
export async function quote(
  { root, device, signer, debug, tcb }: SimulatedPlatform,
  { measurement, reportData, time }: { measurement: string; reportData: Uint8Array; time: Date },
): Promise<Uint8Array> {
  if (reportData.length !== REPORT_DATA_BYTES) {
    throw new RangeError(`report data: expected ${REPORT_DATA_BYTES} bytes`);
  }
  const payload = encodeCbor({
    v: 1,
    platform: SIMULATED,
    hardware: false,
    measurement: fromHex(measurement, 'measurement', MEASUREMENT_BYTES),
    debug,
    tcb,
    reportData,
    issuedAt: Math.floor(time.getTime() / 1000),
  });
  return encodeCbor({ v: 1, root, device, quote: await signStatement(signer, QUOTE_TYPE, payload) });
}

export const simulated: EvidenceFormat = {
  name: SIMULATED,
  hardware: false,
  checks: [
    'policy.simulated-allowed',
    'simulated.encoding',
    'simulated.root-pinned',
    'simulated.chain',
    'simulated.signature',
    'simulated.claims',
  ],
  verify(evidence, policy, record): Claims | undefined {
    record(
      'policy.simulated-allowed',
      policy.simulated,
      'policy-rejected',
      policy.simulated
        ? 'the policy accepts simulated evidence'
        : 'the policy accepts hardware evidence only',
    );
    const attempt = <T>(id: string, done: string, work: () => T): T | undefined => {
      try {
        const value = work();
        record(id, true, 'evidence-rejected', done);
        return value;
      } catch (error) {
        if (!(error instanceof VouchError)) throw error;
        record(id, false, 'evidence-rejected', messageOf(error));
        return undefined;
      }
    };
    const parts = attempt('simulated.encoding', 'deterministic CBOR, version 1', () =>
      decodeCbor(evidence, { schema: Evidence, what: 'simulated evidence', maxBytes: MAX_EVIDENCE_BYTES }),
    );
    if (parts === undefined) return undefined;
    const fingerprint = sha256Hex(parts.root);
    const pinned = policy.simulatedRoots.includes(fingerprint);
    record(
      'simulated.root-pinned',
      pinned,
      'policy-rejected',
      `root ${fingerprint.slice(0, 16)} is ${pinned ? '' : 'not '}pinned by the policy`,
    );
    const device = attempt('simulated.chain', 'the root certifies the device', () =>
      decodeCbor(verifyStatement(parts.root, DEVICE_TYPE, parts.device, LIMITS), {
        schema: Device,
        what: 'simulated device',
        maxBytes: MAX_STATEMENT_BYTES,
      }),
    );
    if (device === undefined) return undefined;
    const payload = attempt('simulated.signature', 'the device signed the quote', () =>
      verifyStatement(device.key, QUOTE_TYPE, parts.quote, LIMITS),
    );
    if (payload === undefined) return undefined;
    const claims = attempt('simulated.claims', 'a quote of version 1, hardware: false', () =>
      decodeCbor(payload, { schema: Quote, what: 'simulated quote', maxBytes: MAX_STATEMENT_BYTES }),
    );
    if (claims === undefined) return undefined;
    return {
      platform: claims.platform,
      hardware: false,
      label: 'SIMULATED',
      measurement: hex(claims.measurement),
      debug: claims.debug,
      tcb: [claims.tcb],
      issuedAt: new Date(claims.issuedAt * 1000),
      reportData: claims.reportData,
    };
  },
};

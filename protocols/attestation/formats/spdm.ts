/**
 * Reads one exchange of SPDM 1.1 (DMTF DSP0274): a GET_MEASUREMENTS request for all measurements with a
 * signature, and the MEASUREMENTS response that answers it. Other versions and other requests are refused, and
 * every declared length must be met exactly. Nothing is verified here.
 */
import { VouchError } from '../../errors.ts';
import { MAX_EVIDENCE_BYTES } from '../limits.ts';
import { createReader } from '../reader.ts';

const VERSION_1_1 = 0x11;
const GET_MEASUREMENTS = 0xe0;
const MEASUREMENTS = 0x60;
/** Param1: a signature is asked for. */
const WITH_SIGNATURE = 1;
/** Param2: all measurements. */
const ALL = 0xff;
const DMTF = 1;
export const NONCE_BYTES = 32;
const REQUEST_BYTES = 37;
/** Of a response, up to its measurements, whose length is in the last three bytes. */
const HEADER_BYTES = 8;

export interface SpdmMeasurement {
  /** DMTFSpecMeasurementValueType */
  readonly type: number;
  readonly value: Uint8Array;
}

export interface SpdmExchange {
  /** the requester's, 32 bytes: what makes the answer fresh */
  readonly requestNonce: Uint8Array;
  /** the device's, 32 bytes */
  readonly responseNonce: Uint8Array;
  readonly slot: number;
  /** by index, from 1 */
  readonly measurements: ReadonlyMap<number, SpdmMeasurement>;
  /** what DSP0274 leaves to the vendor */
  readonly opaque: Uint8Array;
  /** what the signature covers: request and response without it */
  readonly signed: Uint8Array;
  readonly signature: Uint8Array;
}

/** Whether bytes start like such an exchange. */
export const isSpdmExchange = (bytes: Uint8Array): boolean =>
  bytes.length > REQUEST_BYTES + HEADER_BYTES &&
  bytes[0] === VERSION_1_1 &&
  bytes[1] === GET_MEASUREMENTS &&
  bytes[REQUEST_BYTES] === VERSION_1_1 &&
  bytes[REQUEST_BYTES + 1] === MEASUREMENTS;

/** The opaque data of what starts like an exchange, without reading the rest; undefined where it does not lie inside. */
export function opaqueIn(bytes: Uint8Array): Uint8Array | undefined {
  const record = bytes.subarray(REQUEST_BYTES + 5, REQUEST_BYTES + HEADER_BYTES);
  const at =
    REQUEST_BYTES + HEADER_BYTES + record.reduceRight((sum, byte) => sum * 256 + byte, 0) + NONCE_BYTES;
  const [low, high] = bytes.subarray(at, at + 2);
  if (low === undefined || high === undefined) return undefined;
  const length = low + 256 * high;
  return at + 2 + length > bytes.length ? undefined : bytes.subarray(at + 2, at + 2 + length);
}

/** Reads request || response, whose signature has `signatureBytes`; throws `bad-file` or `bad-version`. */
export function parseSpdmExchange(bytes: Uint8Array, signatureBytes: number, what = 'SPDM'): SpdmExchange {
  const refuse = (reason: string): never => {
    throw new VouchError('bad-file', `${what}: ${reason}`);
  };
  if (bytes.length > MAX_EVIDENCE_BYTES) {
    refuse(`expected at most ${MAX_EVIDENCE_BYTES} bytes, got ${bytes.length}`);
  }
  const { take, uint, left, at, end } = createReader(bytes, what);
  const version = (message: string) => {
    const found = uint(1);
    if (found !== VERSION_1_1) {
      throw new VouchError(
        'bad-version',
        `${what}: ${message}: expected SPDM 1.1, got 0x${found.toString(16)}`,
      );
    }
  };
  version('request');
  if (uint(1) !== GET_MEASUREMENTS) refuse('expected a GET_MEASUREMENTS request');
  if (uint(1) !== WITH_SIGNATURE || uint(1) !== ALL)
    refuse('expected a request for all measurements, signed');
  const requestNonce = take(NONCE_BYTES);
  const slot = uint(1);

  version('response');
  if (uint(1) !== MEASUREMENTS) refuse('expected a MEASUREMENTS response');
  take(2);
  const blocks = uint(1);
  const recordEnd = uint(3) + at();
  const measurements = new Map<number, SpdmMeasurement>();
  for (let i = 0; i < blocks; i++) {
    const index = uint(1);
    if (index === 0 || measurements.has(index)) refuse(`block ${i + 1}: expected each index from 1 on once`);
    if (uint(1) !== DMTF) refuse(`measurement ${index}: expected the DMTF form`);
    const size = uint(2);
    const type = uint(1);
    const length = uint(2);
    if (size !== length + 3) refuse(`measurement ${index}: expected ${length + 3} bytes, got ${size}`);
    measurements.set(index, { type, value: take(length) });
  }
  if (measurements.size === 0) refuse('expected measurements');
  if (at() !== recordEnd) refuse(`expected measurements up to byte ${recordEnd}, got ${at()}`);
  const responseNonce = take(NONCE_BYTES);
  const opaque = take(uint(2));
  if (left() !== signatureBytes) refuse(`expected a signature of ${signatureBytes} bytes, got ${left()}`);
  const signed = bytes.subarray(0, at());
  const signature = take(signatureBytes);
  end();
  return { requestNonce, responseNonce, slot, measurements, opaque, signed, signature };
}

/** What is inside of a sealed row: its salt, and its features as 32-bit integers, little-endian, so that its length tells nothing. */
import { VouchError } from './errors.ts';

export const ROW_SALT_BYTES = 31;
/** More are not sealed: a request has the row once for each coordinator. */
export const MAX_ROW_FEATURES = 4096;

export function encodeRow({
  features,
  salt,
}: {
  readonly features: ArrayLike<number>;
  readonly salt: Uint8Array;
}): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(ROW_SALT_BYTES + 4 * features.length);
  bytes.set(salt);
  const view = new DataView(bytes.buffer, ROW_SALT_BYTES);
  for (let i = 0; i < features.length; i++) view.setInt32(4 * i, features[i]!, true);
  return bytes;
}

/** Throws `bad-input` for another length. */
export function decodeRow(bytes: Uint8Array, width: number): { features: Int32Array; salt: Uint8Array } {
  if (bytes.length !== ROW_SALT_BYTES + 4 * width)
    throw new VouchError('bad-input', `sealed row: expected ${width} features and a salt`);
  const view = new DataView(bytes.buffer, bytes.byteOffset + ROW_SALT_BYTES);
  return {
    salt: bytes.slice(0, ROW_SALT_BYTES),
    features: Int32Array.from({ length: width }, (_, i) => view.getInt32(4 * i, true)),
  };
}

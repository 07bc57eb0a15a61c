/** What benchmarks compute with. */

/** `length` bytes that repeat `bytes` from its beginning. */
export function repeated(bytes: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(length);
  for (let at = 0; at < length; at += bytes.byteLength) all.set(bytes.subarray(0, length - at), at);
  return all;
}

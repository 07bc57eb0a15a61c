/** Proofs that can be compared: the only way to a proof whose r and s are not drawn from the system (docs/DECISIONS.md, 9). */

/** Fixed r and s, for tests that compare proofs. Ignored unless a test says that it is one. */
export function insecureBlinding(): { r: bigint; s: bigint } | undefined {
  const text = process.env.VOUCH_TEST_BLINDING;
  if (text === undefined || process.env.NODE_ENV !== 'test') return undefined;
  const [r, s] = text.split(',').map(BigInt);
  return r === undefined || s === undefined ? undefined : { r, s };
}

/**
 * The rehearsal of fused vectors (fused-vectors.ts): a process that is started with V8's flag, computes with our kernel until
 * its code is compiled well, and ends with code 0 when all of it was what wasmcurves computes, which has no vectors. Then the
 * code itself is kept, too (kept-code.ts).
 */
import { ENTRY_BYTES, elementBytes, R, randomScalar, writeElement } from '../../circuits/groth16/field.ts';
import { type Group, POINT_BYTES } from '../../circuits/groth16/point.ts';
import { quotient } from '../../circuits/groth16/quotient.ts';
import type { KeyPart, ProvingKey } from '../../circuits/groth16/zkey.ts';
import { SCALAR_BYTES } from '../../protocols/bn254.ts';
import { concat, equal } from '../../protocols/encoding.ts';
import { createFallback, curveModule } from '../msm/threads/fallback.ts';
import { createPool, type Pool } from '../msm/threads/pool.ts';
import { codeFile, rehearsed } from './fused-vectors.ts';
import { keepCode } from './kept-code.ts';

const POINTS = 1 << 12;
const ROWS = 1 << 10;
/** Long enough for V8 to compile what a proof spends its time in; the first results are of code that nothing fused. */
const LEAST_MS = 700;

await using pool = await createPool({ threads: 1 });
await rehearseSums(pool, 'G1');
await rehearseSums(pool, 'G2');
await rehearseQuotient(pool);
await rehearsePairings(pool);
await rehearsed();
await keepCode(codeFile());

function randomScalars(count: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(count * SCALAR_BYTES);
  for (let at = 0; at < bytes.byteLength; at += SCALAR_BYTES) writeElement(randomScalar(), bytes, at);
  return bytes;
}

async function repeatedly(what: string, expected: Uint8Array, compute: () => Promise<Uint8Array>) {
  for (const began = performance.now(); performance.now() - began < LEAST_MS; ) {
    if (!equal(await compute(), expected)) throw new Error(`${what} came out wrong`);
  }
}

/** Of points that repeat, so that equal summands meet, and with some at infinity, and without. */
async function rehearseSums(pool: Pool, group: Group): Promise<void> {
  const size = POINT_BYTES[group];
  const bases = new Uint8Array(POINTS * size);
  const distinct = await pool.multiples(group, randomScalars(POINTS / 4));
  for (let at = 0; at < bases.byteLength; at += distinct.byteLength) bases.set(distinct, at);
  const scalars = randomScalars(POINTS);
  scalars.copyWithin(0, distinct.byteLength / size / 2, distinct.byteLength / size);
  for (const infinite of [0, 4]) {
    bases.fill(0, 5 * size, (5 + infinite) * size);
    const expected = createFallback(await curveModule()).msm(group, bases.slice(), scalars.slice());
    await repeatedly(`a sum over ${group}`, expected, () => pool.msm(group, bases, scalars));
  }
}

/** e(P, Q) e(-P, Q) = 1: what verifying a proof takes, by wasmcurves alone. */
async function rehearsePairings(pool: Pool): Promise<void> {
  const both = await pool.multiples('G1', scalarsOf(1n, R - 1n));
  const twice = await pool.multiples('G2', scalarsOf(1n, 1n));
  await repeatedly('a pairing', Uint8Array.of(1), async () =>
    Uint8Array.of(Number(await pool.pairingsCancel(both, twice))),
  );
}

function scalarsOf(...values: readonly bigint[]): Uint8Array {
  return concat(...values.map((value) => elementBytes(value)));
}

async function rehearseQuotient(pool: Pool): Promise<void> {
  const entries = new Uint8Array(4 * ROWS * ENTRY_BYTES);
  const view = new DataView(entries.buffer);
  const values = randomScalars(4 * ROWS);
  for (let index = 0; index < 4 * ROWS; index++) {
    const at = index * ENTRY_BYTES;
    view.setUint32(at, index % 2, true);
    view.setUint32(at + 4, index % ROWS, true);
    view.setUint32(at + 8, (index * 7) % ROWS, true);
    entries.set(values.subarray(index * SCALAR_BYTES, (index + 1) * SCALAR_BYTES), at + 12);
  }
  const shape = { variables: ROWS, publics: 0, domainSize: ROWS };
  // Of a key, what its quotients need.
  const key = {
    ...shape,
    range: (_part: KeyPart) => ({ offset: 0, length: entries.byteLength }),
    read: async (_part: KeyPart, target: Uint8Array) => target.set(entries),
  } as ProvingKey;
  const witness = randomScalars(ROWS);
  const expected = await quotient({ entries, domainSize: ROWS }, witness, pool, {});
  const ready = await pool.ready(key);
  await repeatedly('a quotient', expected, () => ready.quotient(witness));
}

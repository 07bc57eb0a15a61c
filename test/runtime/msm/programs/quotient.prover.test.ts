import { ENTRY_BYTES, R, writeElement } from '../../../../circuits/groth16/field.ts';
import { entriesOfC } from '../../../../circuits/groth16/qap.ts';
import { quotient } from '../../../../circuits/groth16/quotient.ts';
import { firstBroken, readR1cs } from '../../../../circuits/groth16/r1cs.ts';
import { setup } from '../../../../circuits/groth16/setup.ts';
import { readZkey, type Zkey } from '../../../../circuits/groth16/zkey.ts';
import { compressRows } from '../../../../runtime/msm/programs/rows.ts';
import { createPool, type Pool } from '../../../../runtime/msm/threads/pool.ts';
import { generator, randomCircuit, wide } from '../../../circuits/groth16-circuit.ts';
import { assert, suite } from '../../../harness.ts';

const test = suite('quotient', { timeoutMs: 60_000 });
const random = generator(31);

/** A key of which only the shape and the entries matter, and values for it that satisfy nothing. */
function randomRows(bits: number, variables: number, perRow: (row: number) => number) {
  const domainSize = 2 ** bits;
  const list: { matrix: number; row: number; column: number; value: bigint }[] = [];
  const some = [0n, 1n, R - 1n, wide(random) % R];
  for (let row = 0; row < domainSize; row++) {
    for (const matrix of [0, 1]) {
      for (let i = 0; i < perRow(row); i++) {
        const value = i % 3 ? some[random() % some.length]! : wide(random) % R;
        list.push({ matrix, row, column: random() % variables, value });
      }
    }
  }
  const entries = new Uint8Array(list.length * ENTRY_BYTES);
  const view = new DataView(entries.buffer);
  // Not in the order of the rows.
  list.sort((a, b) => (a.column % 7) - (b.column % 7) || b.row - a.row);
  list.forEach(({ matrix, row, column, value }, index) => {
    const at = index * ENTRY_BYTES;
    [matrix, row, column].forEach((word, i) => {
      view.setUint32(at + 4 * i, word, true);
    });
    writeElement(value, entries, at + 12);
  });
  const witness = new Uint8Array(variables * 32);
  for (let i = 0; i < variables; i++) writeElement(i % 4 ? wide(random) % R : BigInt(i % 3), witness, 32 * i);
  const key = {
    variables,
    publics: 0,
    domainSize,
    entries,
    points: {},
    range: (part: string) => ({ offset: 0, length: part === 'entries' ? entries.byteLength : 0 }),
    read: async (part: string, target: Uint8Array) => {
      if (part === 'entries') target.set(entries);
    },
  } as unknown as Zkey;
  return { key, witness };
}

async function agrees(pool: Pool, bits: number, perRow: (row: number) => number): Promise<void> {
  const { key, witness } = randomRows(bits, 50, perRow);
  const expected = await quotient(key, witness, pool, {});
  const ready = await pool.ready(key);
  assert.is(Buffer.compare(await ready.quotient(witness), expected), 0, `2^${bits}`);
  ready.release();
}

test('every domain from 2^1 to 2^13 as single operations give it, with empty and with long rows', async (t) => {
  const pool = await createPool({ threads: 2 });
  t.defer(() => pool.close());
  for (let bits = 1; bits <= 13; bits++) await agrees(pool, bits, () => 1 + (random() % 3));
  await agrees(pool, 8, (row) => (row % 5 ? 0 : 1));
  await agrees(pool, 7, (row) => (row === 3 ? 700 : row === 67 ? 1 : random() % 2));
  await agrees(pool, 6, () => 0);
});

test('a witness satisfies a circuit or does not: every wire that is changed is found, in every row', async (t) => {
  const pool = await createPool({ threads: 2 });
  t.defer(() => pool.close());
  for (const constraints of [100, 1000, 4000]) {
    const { r1cs: file, witness } = randomCircuit({ constraints, seed: constraints });
    const r1cs = readR1cs(file);
    const key = readZkey((await setup(file, { field: pool, points: pool })).zkey);
    const ready = await pool.ready(key);
    let loads = 0;
    const products = async () => {
      loads++;
      return entriesOfC(r1cs, pool);
    };
    /** The check alone and the one on the way to the quotient have to agree. */
    const satisfied = async (values: Uint8Array) => {
      const holds = await ready.satisfied!(values, products);
      const quotient = await ready.checkedQuotient!(values, products);
      assert.is(quotient !== undefined, holds);
      if (quotient) assert.equal(quotient, await ready.quotient(values));
      return holds;
    };
    assert.ok(await satisfied(witness), `${constraints} constraints`);
    const { variables } = r1cs;
    for (const wire of [1, 2, 3, ...Array.from({ length: 40 }, () => random() % variables), variables - 2]) {
      const changed = witness.slice();
      changed[32 * wire]! ^= 1;
      const expected = firstBroken(r1cs, changed) < 0;
      assert.is(await satisfied(changed), expected, `wire ${wire} of ${variables}`);
    }
    assert.ok(await satisfied(witness), 'and nothing of it stays');
    assert.is(loads, 1);
    ready.release();
  }
});

test('rows of entries: places, terms, coefficients once each', () => {
  const { key } = randomRows(3, 9, () => 2);
  const { starts, terms, coefficients } = compressRows(key.entries.slice(), 8, 40);
  assert.is(starts.length, 18);
  assert.is(starts[17], 32);
  const words = new Uint32Array(terms.buffer);
  const list = new DataView(key.entries.buffer);
  const seen: string[] = [];
  for (let matrix = 0; matrix < 2; matrix++) {
    for (let row = 0; row < 8; row++) {
      for (let term = starts[matrix * 9 + row]!; term < starts[matrix * 9 + row + 1]!; term++) {
        const place = (words[2 * term + 1]! / 40) * 32;
        const value = Buffer.from(coefficients.subarray(place, place + 32)).toString('hex');
        seen.push(`${matrix},${row},${words[2 * term]! / 32},${value}`);
      }
    }
  }
  const expected = Array.from({ length: 32 }, (_, index) => {
    const at = index * ENTRY_BYTES;
    const value = Buffer.from(key.entries.subarray(at + 12, at + 44)).toString('hex');
    return `${[0, 4, 8].map((offset) => list.getUint32(at + offset, true)).join()},${value}`;
  });
  assert.equal(seen.sort(), expected.sort());
  const values = new Set(expected.map((line) => line.split(',')[3]));
  // Zero comes first whether it occurs or not, and their number is even.
  assert.ok(coefficients.byteLength / 32 <= values.size + 2);
});

test('a key that is released while a proof is under way gives its memory back after it', async (t) => {
  const pool = await createPool({ threads: 1 });
  t.defer(() => pool.close());
  const circuit = randomCircuit({ constraints: 100 });
  const zkey = readZkey((await setup(circuit.r1cs, { field: pool, points: pool })).zkey);
  const ready = await pool.ready(zkey);
  const expected = await ready.sums(circuit.witness);
  const under = ready.sums(circuit.witness);
  ready.release();
  const sums = await under;
  for (const section of ['A', 'B1', 'B2', 'C', 'H'] as const)
    assert.is(Buffer.compare(sums[section], expected[section]), 0, section);
  const late = await ready.sums(circuit.witness).catch((error) => error);
  assert.is(late.code, 'not-ready');

  const again = await pool.ready(zkey);
  const abort = new AbortController();
  const cancelled = again.sums(circuit.witness, { signal: abort.signal }).catch((error) => error);
  abort.abort();
  assert.is((await cancelled).code, 'cancelled');
  const after = await again.sums(circuit.witness);
  assert.is(Buffer.compare(after.B2, expected.B2), 0);
  await again.tabulate!({ bytes: 2 ** 26 });
  const tabled = await again.sums(circuit.witness);
  for (const section of ['A', 'B1', 'B2', 'C', 'H'] as const)
    assert.is(Buffer.compare(tabled[section], expected[section]), 0, `${section} with tables`);
  assert.is(
    Buffer.compare(await again.msm('C', circuit.witness.subarray(32 * (zkey.publics + 1))), expected.C),
    0,
  );
});

test.run();

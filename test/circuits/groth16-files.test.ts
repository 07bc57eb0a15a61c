import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readBinFile, writeBinFile } from '../../circuits/groth16/binfile.ts';
import { elementBytes, Q, R, randomScalar, readElement, writeElement } from '../../circuits/groth16/field.ts';
import {
  addPoints,
  checkPoint,
  G1,
  G2,
  g1Strings,
  g2Strings,
  parseG1,
  parseG2,
  writeG1,
  writeG2,
} from '../../circuits/groth16/point.ts';
import { cutPowers, openPowers, openPowersOfTau, powersBytes } from '../../circuits/groth16/ptau.ts';
import { readR1cs } from '../../circuits/groth16/r1cs.ts';
import { setup } from '../../circuits/groth16/setup.ts';
import { blobSource, bytesSource } from '../../circuits/groth16/source.ts';
import { openWitness, readWitness, writeWitness } from '../../circuits/groth16/witness.ts';
import { loadZkey, openZkey, readZkey, writeZkey } from '../../circuits/groth16/zkey.ts';
import { VouchError } from '../../protocols/errors.ts';
import { openFile } from '../../runtime/home/file-source.ts';
import { createPool } from '../../runtime/msm/threads/pool.ts';
import { assert, suite } from '../harness.ts';
import { randomCircuit } from './groth16-circuit.ts';
import { hasProverData, PROVER_DATA } from './groth16-oracle.ts';
import { powersOfTau } from './powers-of-tau.ts';
import { strayPoint } from './stray-point.ts';

const test = suite('groth16 files');

/** Fails unless `run` throws `bad-file` with one sentence that matches. */
function refuses(run: () => unknown, pattern: RegExp): void {
  let error: unknown;
  try {
    run();
  } catch (thrown) {
    error = thrown;
  }
  isRefusal(error, pattern);
}
function isRefusal(error: unknown, pattern: RegExp): void {
  assert.instance(error, VouchError, `expected an error that matches ${pattern}, got ${error}`);
  const { code, message } = error as VouchError;
  assert.is(code, 'bad-file');
  assert.match(message, pattern);
  assert.not.match(message, /\n/);
}
const failureOf = (work: Promise<unknown>) =>
  work.then(
    () => 'no error',
    (error) => error,
  );
/** Fails unless a key is refused in memory, and when it is read piece by piece. */
async function refusesKey(file: Uint8Array, pattern: RegExp): Promise<void> {
  refuses(() => readZkey(file), pattern);
  isRefusal(await failureOf(openZkey(bytesSource(file)).then(loadZkey)), pattern);
}
async function refusesWitness(file: Uint8Array, pattern: RegExp): Promise<void> {
  refuses(() => readWitness(file), pattern);
  const read = async () => {
    const { count, read: fill } = await openWitness(bytesSource(file));
    await fill(new Uint8Array(count * 32));
  };
  isRefusal(await failureOf(read()), pattern);
}
const patched = (file: Uint8Array, offset: number, bytes: ArrayLike<number>) => {
  const copy = file.slice();
  copy.set(bytes, offset);
  return copy;
};
/** Offset of a section's bytes in a file. */
const at = (file: Uint8Array, type: string, section: number) =>
  readBinFile(file, type, 2).range(section).offset;
/** The file with one section replaced. */
function withSection(
  file: Uint8Array,
  type: string,
  version: number,
  id: number,
  bytes: Uint8Array,
): Uint8Array {
  const sections = readBinFile(file, type, version);
  const ids = Array.from({ length: 20 }, (_, index) => index).filter(sections.has);
  return writeBinFile(
    type,
    version,
    ids.map((each) => [each, each === id ? bytes : sections.section(each)] as const),
  );
}

const circuit = randomCircuit({ constraints: 12, outputs: 1, publicInputs: 2, seed: 3 });
const pool = await createPool({ threads: 1 });
const key: Uint8Array = (await setup(circuit.r1cs, { field: pool, points: pool })).zkey;

test('a key is read, and written as it was', () => {
  assert.is(Buffer.compare(writeZkey(readZkey(key)), key), 0);
});

test('a key cut off anywhere is refused with a sentence', async () => {
  for (let length = 0; length < key.byteLength; length += length < 1000 ? 1 : 211) {
    await refusesKey(key.subarray(0, length), /^\.zkey file: /);
  }
  await refusesKey(Buffer.concat([key, new Uint8Array(1)]), /1 bytes follow/);
});

test('a key whose header lies is refused', async () => {
  const header = at(key, 'zkey', 2);
  const counts = header + 2 * 36;
  const points = counts + 12;
  const infinity = new Uint8Array(128);
  // One byte is sometimes the point's own.
  const other = [1, 2, 3, 4];
  for (const [offset, bytes, pattern] of [
    [0, [0x77], /begin with "zkey"/],
    [4, [2], /version 2/],
    [4, [0], /version 0/],
    [8, [255, 255, 255, 255], /sections/],
    [8, [11], /cut off/],
    [at(key, 'zkey', 1), [2], /protocol/],
    [at(key, 'zkey', 3) - 12, [2], /section 2 is there twice/],
    [at(key, 'zkey', 3) - 12, [19], /section 3 is missing/],
    [
      at(key, 'zkey', 4) - 8,
      [255, 255, 255, 255, 255, 255, 255, 255],
      /section 4 says 18446744073709551615 bytes/,
    ],
    [header, [48], /prime q is not BN254's/],
    [header + 4, [0], /prime q/],
    [header + 36, [8], /n8r is 8/],
    [header + 40, [2], /prime r/],
    [counts, [0, 0, 0, 0], /nPublic is 3/],
    [counts, [5], /section has|IC|section A/],
    [counts + 4, [1], /IC section/],
    [counts + 8, [15], /domainSize is 15/],
    [counts + 8, [0], /domainSize is 0/],
    [counts + 8, [0, 0, 0, 0x80], /domainSize is 2147483648/],
    [counts + 8, [32], /section H/],
    [points, other, /alpha1/],
    [points, infinity.subarray(0, 64), /alpha1 is the point at infinity/],
    [points, elementBytes(Q + 5n), /alpha1: a coordinate/],
    [points + 128, other, /beta2/],
    [points + 64 * 3 + 128 * 2, infinity, /delta2 is the point at infinity/],
    [at(key, 'zkey', 3), other, /IC\[0\]/],
    [at(key, 'zkey', 4), [1], /coefficient section/],
    [at(key, 'zkey', 4) + 4, [2], /coefficient 0 is at \(2,/],
    [at(key, 'zkey', 4) + 8, [16], /outside of the matrices/],
    [at(key, 'zkey', 4) + 12, [200], /outside of the matrices/],
    [at(key, 'zkey', 10) + 64, [2], /2 contributions do not fit/],
    [at(key, 'zkey', 10) + 64, [0], /follow the last contribution/],
    [at(key, 'zkey', 10) + 64, [0, 0, 0, 1], /do not fit/],
    [at(key, 'zkey', 10) + 68, other, /deltaAfter/],
    [at(key, 'zkey', 10) + 68 + 320 + 64, [7], /unknown type 7/],
    [at(key, 'zkey', 10) + 68 + 320 + 64, [1], /beacon/],
    [at(key, 'zkey', 10) + 68 + 320 + 72, [9], /malformed parameters/],
    [at(key, 'zkey', 10) + 68 + 320 + 73, [200], /malformed parameters/],
  ] as const) {
    await refusesKey(patched(key, offset, bytes), pattern);
  }
  const zkey = readZkey(key);
  const uncontributed = writeZkey({ ...zkey, header: { ...zkey.header, delta2: zkey.header.gamma2 } });
  await refusesKey(uncontributed, /anyone can forge/);
  readZkey(uncontributed, { allowUncontributed: true });
  await refusesKey(withSection(key, 'zkey', 1, 9, zkey.points.H.subarray(64)), /section H has/);
  await refusesKey(withSection(key, 'zkey', 1, 4, new Uint8Array(3)), /no count/);
});

test('sections are read where they are needed, also into shared memory', async () => {
  const zkey = readZkey(key);
  for (const source of [bytesSource(key), blobSource(new Blob([Uint8Array.from(key)]))]) {
    const opened = await openZkey(source);
    assert.equal([opened.variables, opened.publics, opened.domainSize], [zkey.variables, zkey.publics, 16]);
    assert.is(Buffer.compare(writeZkey(await loadZkey(opened)), key), 0);

    const memory = new Uint8Array(new SharedArrayBuffer(256), 64, 128);
    await opened.read('H', memory, 64);
    assert.is(Buffer.compare(memory, zkey.points.H.subarray(64, 192)), 0);
    await opened.read('entries', memory.subarray(0, 88), 44);
    assert.is(Buffer.compare(memory.subarray(0, 88), zkey.entries.subarray(44, 132)), 0);
    for (const [part, length, offset] of [
      ['H', 64, 16 * 64],
      ['H', 17 * 64, 0],
      ['A', 64, -64],
      ['A', 64, 0.5],
      ['entries', 44, 43],
      ['entries', 43, 0],
    ] as const) {
      assert.instance(await failureOf(opened.read(part, new Uint8Array(length), offset)), RangeError);
    }
  }
  // The second entry only: whoever reads the others gets them.
  const damaged = await openZkey(bytesSource(patched(key, zkey.range('entries').offset + 44, [2])));
  await damaged.read('entries', new Uint8Array(44));
  isRefusal(await failureOf(damaged.read('entries', new Uint8Array(44), 44)), /coefficient 1 is at \(2,/);
});

test('points outside of the curve or the subgroup are refused', () => {
  checkPoint('G1', writeG1(G1.BASE));
  checkPoint('G2', writeG2(G2.BASE));
  checkPoint('G2', new Uint8Array(128));
  refuses(() => checkPoint('G1', writeG2(G2.BASE)), /64 bytes, got 128/);
  refuses(() => checkPoint('G1', patched(writeG1(G1.BASE), 0, [0xff])), /not a point/);
  refuses(() => checkPoint('G2', patched(writeG2(G2.BASE), 0, [0xff])), /not a point/);
  const outside = strayPoint();
  refuses(() => checkPoint('G2', outside), /not a point of the curve's group/);
  refuses(() => addPoints('G2', [writeG2(G2.BASE), outside]), /not a point/);
  // A second encoding of the same point, x + q, must not pass.
  const base = writeG1(G1.BASE);
  const shifted = base.slice();
  writeElement(readElement(base) + Q, shifted);
  refuses(() => checkPoint('G1', shifted), /not below/);
});

test('sums of points', () => {
  const multiples = [1n, 2n, 3n, R - 3n].map((scalar) => writeG1(G1.BASE.multiply(scalar)));
  assert.equal(addPoints('G1', multiples), writeG1(G1.BASE.multiply(3n)));
  assert.equal(addPoints('G1', multiples.slice(2)), new Uint8Array(64));
  assert.equal(addPoints('G1', []), new Uint8Array(64));
  const twice = [G2.BASE, G2.BASE].map(writeG2);
  assert.equal(addPoints('G2', [...twice, new Uint8Array(128)]), writeG2(G2.BASE.double()));
});

test('JSON points there and back', () => {
  for (const scalar of [1n, 7n, R - 1n]) {
    const [g1, g2] = [G1.BASE.multiply(scalar), G2.BASE.multiply(scalar)];
    assert.ok(parseG1(g1Strings(g1), 'g1').equals(g1));
    assert.ok(parseG2(g2Strings(g2), 'g2').equals(g2));
  }
  assert.ok(parseG1(g1Strings(G1.ZERO), 'g1').is0());
  assert.ok(parseG2(g2Strings(G2.ZERO), 'g2').is0());
  for (const value of [
    null,
    [],
    ['1', '2'],
    ['1', '2', 1],
    ['1', '2', '2'],
    ['-1', '2', '1'],
    ['0x1', '2', '1'],
    'x',
  ]) {
    refuses(() => parseG1(value, 'g1'), /^g1: /);
  }
  refuses(() => parseG1(['9'.repeat(100_000), '2', '1'], 'g1'), /decimal string/);
  refuses(
    () =>
      parseG2(
        [
          ['1', '2'],
          ['1', '2'],
          ['2', '0'],
        ],
        'g2',
      ),
    /expected z/,
  );
  refuses(() => parseG2([['1', '2'], ['1'], ['1', '0']], 'g2'), /2 decimal strings/);
});

test('witness files', async () => {
  const file = writeWitness(circuit.witness);
  assert.is(Buffer.compare(readWitness(file), circuit.witness), 0);
  for (let length = 0; length < file.byteLength; length++) {
    await refusesWitness(file.subarray(0, length), /^\.wtns file: /);
  }
  const header = at(file, 'wtns', 1);
  for (const [offset, bytes, pattern] of [
    [3, [0x7a], /begin with "wtns"/],
    [4, [3], /version 3/],
    [header, [48], /prime .*(another field's|cannot be)/],
    [header + 4, [0], /prime/],
    [header + 36, [1], /section 2 has/],
    [at(file, 'wtns', 2), [2], /constant 1/],
    [at(file, 'wtns', 2) + 64, elementBytes(R), /below the field's prime/],
  ] as const) {
    await refusesWitness(patched(file, offset, bytes), pattern);
  }
  await refusesWitness(
    writeBinFile('wtns', 2, [
      [1, patched(file.subarray(header, header + 40), 36, [0, 0, 0, 0])],
      [2, new Uint8Array(0)],
    ]),
    /no values/,
  );
  const opened = await openWitness(bytesSource(file));
  const part = new Uint8Array(new SharedArrayBuffer(64));
  await opened.read(part, 1);
  assert.is(Buffer.compare(part, circuit.witness.subarray(32, 96)), 0);
  assert.instance(await failureOf(opened.read(part, opened.count - 1)), RangeError);
  assert.instance(await failureOf(opened.read(part.subarray(1))), RangeError);
  refuses(() => writeWitness(new Uint8Array(0)), /multiple/);
  // The largest scalar is one.
  readWitness(patched(file, at(file, 'wtns', 2) + 64, elementBytes(R - 1n)));
});

test('powers of tau', async (t) => {
  const file = powersOfTau(3);
  const open = (bytes: Uint8Array) => openPowersOfTau(bytesSource(bytes));
  assert.equal(await open(file), { power: 3, ceremonyPower: 28, prepared: true });
  const unprepared = powersOfTau(3, { prepared: false });
  assert.is((await open(unprepared)).prepared, false);

  const header = at(file, 'ptau', 1);
  for (const [bytes, pattern] of [
    [file.subarray(0, 1000), /cut off/],
    [key, /begin with "ptau"/],
    [patched(file, 4, [2]), /version 2/],
    [patched(file, header, [48]), /prime has 48 bytes/],
    [patched(file, header + 4, elementBytes(R)), /not BN254's/],
    [patched(file, header + 36, [4]), /section 2 has 960 bytes, expected 1984/],
    [patched(file, header + 36, [0]), /power is 0 of 28/],
    [patched(file, header + 36, [29]), /power is 29/],
    [patched(file, header + 40, [2]), /power is 3 of 2/],
    [withSection(file, 'ptau', 1, 14, new Uint8Array(64)), /section 14 has 64 bytes, expected 960/],
    [withSection(file, 'ptau', 1, 6, new Uint8Array(64)), /section 6/],
    [patched(file, at(file, 'ptau', 2), [0]), /G1 do not begin at the generator/],
    [patched(file, at(file, 'ptau', 3), [0]), /G2 do not begin at the generator/],
    [patched(file, at(file, 'ptau', 2) + 64, [1]), /tau in G1/],
    [patched(file, at(file, 'ptau', 3) + 128, strayPoint()), /tau in G2/],
  ] as const) {
    isRefusal(await failureOf(open(bytes)), pattern);
  }
  if (!hasProverData) t.skip("no ../shared/prover here, so no file of snarkjs's");
  await using snarkjs = await openFile(`${PROVER_DATA}test12.ptau`, 'powers of tau');
  assert.equal(await openPowersOfTau(snarkjs), { power: 12, ceremonyPower: 12, prepared: true });
});

test("a key's powers are the beginning of such a file, prepared or not, and of no more than that", async () => {
  const whole = powersOfTau(3);
  const cut = (power: number, bytes: Uint8Array = whole) => cutPowers(bytesSource(bytes), power);
  for (const power of [1, 2, 3]) {
    const file = await cut(power);
    assert.is(file.byteLength, powersBytes(2 ** power));
    const { power: found, tau2, readG1 } = await openPowers(bytesSource(file));
    assert.is(found, power);
    const points = new Uint8Array((2 * 2 ** power - 1) * 64);
    await readG1(points);
    const g1 = at(whole, 'ptau', 2);
    assert.is(Buffer.compare(points, whole.subarray(g1, g1 + points.byteLength)), 0);
    const g2 = at(whole, 'ptau', 3) + 128;
    assert.is(Buffer.compare(tau2, whole.subarray(g2, g2 + 128)), 0);
    assert.instance(await failureOf(readG1(new Uint8Array(points.byteLength + 64))), RangeError);
    // Cut again it is the same, and a ceremony's file it is not.
    assert.is(Buffer.compare(await cut(power, file), file), 0);
    isRefusal(
      await failureOf(openPowersOfTau(bytesSource(file))),
      power === 1 ? /section 4 is missing/ : /section 3/,
    );
  }
  assert.is(Buffer.compare(await cut(2, powersOfTau(3, { prepared: false })), await cut(2)), 0);
  isRefusal(await failureOf(cut(4)), /up to 2\^3 rows, expected 2\^4/);
  const file = await cut(3);
  isRefusal(
    await failureOf(cut(3, withSection(file, 'ptau', 1, 3, new Uint8Array(128)))),
    /section 3 has less than two/,
  );
  isRefusal(
    await failureOf(cut(3, patched(file, at(file, 'ptau', 2), [0]))),
    /do not begin at the generator/,
  );
});

test('a file is opened once and read where it is needed', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'vouch-files-'));
  try {
    const path = join(folder, 'a.zkey');
    writeFileSync(path, key);
    {
      await using file = await openFile(path, 'proving key');
      assert.is(file.byteLength, key.byteLength);
      assert.is(Buffer.compare(writeZkey(await loadZkey(await openZkey(file))), key), 0);
      truncateSync(path, key.byteLength - 100);
      isRefusal(await failureOf(openZkey(file).then(loadZkey)), /a\.zkey: it was cut off while it was read/);
    }
    const opening = (name: string) => failureOf(openFile(join(folder, name), 'proving key'));
    isRefusal(await opening('b.zkey'), /^proving key .*b\.zkey: there is no such file;/);
    isRefusal(await opening('.'), /not a regular file/);
    isRefusal(await opening('a.zkey/b'), /^proving key .*a\.zkey.b: /);
    if (process.platform !== 'win32') {
      spawnSync('mkfifo', [join(folder, 'pipe')]);
      isRefusal(await opening('pipe'), /not a regular file/);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('constraint files', () => {
  const file = circuit.r1cs;
  const parsed = readR1cs(file);
  assert.is(parsed.constraints, 12);
  assert.is(parsed.outputs + parsed.publicInputs, 3);
  for (let length = 0; length < file.byteLength; length += 7) {
    refuses(() => readR1cs(file.subarray(0, length)), /^\.r1cs file: /);
  }
  const header = at(file, 'r1cs', 1);
  const body = at(file, 'r1cs', 2);
  for (const [offset, bytes, pattern] of [
    [0, [0], /begin with "r1cs"/],
    [4, [2], /version 2/],
    [header, [64], /prime .*(another field's|cannot be)/],
    [header + 4, [0], /prime/],
    [header + 36, [3], /fewer than/],
    [header + 36, [0, 0, 0, 0xff], /more than 2\^28/],
    [header + 60, [255, 255, 255, 255], /do not fit/],
    [header + 60, [11], /cannot be|fill|longer/],
    [body, [255, 255, 255, 255], /constraint 0 is longer/],
    [body + 4, [255, 255], /names wire/],
    [body + 8, elementBytes(R), /coefficient/],
  ] as const) {
    refuses(() => readR1cs(patched(file, offset, bytes)), pattern);
  }
});

test('random scalars are in range and differ', () => {
  const seen = new Set(Array.from({ length: 200 }, () => randomScalar()));
  assert.is(seen.size, 200);
  for (const scalar of seen) assert.ok(scalar > 0n && scalar < R);
  // Without a bias the upper half is met about 100 times; 40 is more than eight deviations away.
  assert.ok([...seen].filter((scalar) => scalar > R / 2n).length > 40);
});

test.run();

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeBinFile } from '../../circuits/groth16/binfile.ts';
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
import { readR1cs } from '../../circuits/groth16/r1cs.ts';
import { setup } from '../../circuits/groth16/setup.ts';
import { blobSource, bytesSource } from '../../circuits/groth16/source.ts';
import { openWitness, readWitness, writeWitness } from '../../circuits/groth16/witness.ts';
import { loadZkey, openZkey, readZkey, writeZkey } from '../../circuits/groth16/zkey.ts';
import { openFile } from '../../runtime/home/file-source.ts';
import { createPool } from '../../runtime/msm/threads/pool.ts';
import { assert, suite } from '../harness.ts';
import { at, failureOf, isRefusal, patched, refuses, withSection } from './damaged-file.ts';
import { randomCircuit } from './groth16-circuit.ts';
import { strayPoint } from './stray-point.ts';

const test = suite('groth16 files');

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

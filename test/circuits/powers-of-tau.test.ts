import { elementBytes, R } from '../../circuits/groth16/field.ts';
import { openPowers, openPowersOfTau, powersBytes } from '../../circuits/groth16/ptau.ts';
import { bytesSource } from '../../circuits/groth16/source.ts';
import { openFile } from '../../runtime/home/file-source.ts';
import { assert, suite } from '../harness.ts';
import { at, failureOf, isRefusal, patched, withSection } from './damaged-file.ts';
import { randomCircuit } from './groth16-circuit.ts';
import { hasProverData, PROVER_DATA } from './groth16-oracle.ts';
import { cutPowers } from './powers-files.ts';
import { powersOfTau } from './powers-of-tau.ts';
import { strayPoint } from './stray-point.ts';

const test = suite('powers of tau');

test("a ceremony's file", async (t) => {
  const file = powersOfTau(3);
  const open = (bytes: Uint8Array) => openPowersOfTau(bytesSource(bytes));
  assert.equal(await open(file), { power: 3, ceremonyPower: 28, prepared: true });
  const unprepared = powersOfTau(3, { prepared: false });
  assert.is((await open(unprepared)).prepared, false);

  const header = at(file, 'ptau', 1);
  for (const [bytes, pattern] of [
    [file.subarray(0, 1000), /cut off/],
    [randomCircuit({ constraints: 2 }).r1cs, /begin with "ptau"/],
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

test.run();

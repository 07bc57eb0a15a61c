/** Files beyond 2 GiB and 4 GiB: sparse, so that they take no disk. */
import { open, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { openPowers, planPowers, powersBytes } from '../../circuits/groth16/ptau.ts';
import { setup } from '../../circuits/groth16/setup.ts';
import { type ByteSink, bytesSource } from '../../circuits/groth16/source.ts';
import { type KeyHead, openZkey, planZkey, readZkey, sectionCounts } from '../../circuits/groth16/zkey.ts';
import { openFile } from '../../runtime/home/file-source.ts';
import { writePieces } from '../../runtime/home/files.ts';
import { createPool } from '../../runtime/msm/threads/pool.ts';
import { assert, suite, type TestContext } from '../harness.ts';
import { temporaryFolder } from '../runtime/nats/nats-fixture.ts';
import { randomCircuit } from './groth16-circuit.ts';

const test = suite('large files');

const BITS = 25;
const SHAPE = { variables: 2 ** BITS, domainSize: 2 ** BITS };
const ENTRIES = 2 ** 26;
let made: ReturnType<typeof setup> | undefined;
/** A key of a few rows, whose head the large ones have. */
function small() {
  made ??= (async () => {
    await using pool = await createPool({ threads: 1 });
    return await setup(randomCircuit({ constraints: 4 }).r1cs, { field: pool, points: pool });
  })();
  return made;
}
const marker = (value: number) => new Uint8Array(64).fill(value);

/** A key of 2^25 rows, 12 GB, of which only what is written takes disk: its head, and the last point of each section. */
async function largeKey(t: TestContext) {
  const path = join(await temporaryFolder(t), 'large.zkey');
  const head: KeyHead = { ...readZkey((await small()).zkey), ...SHAPE };
  const plan = planZkey(head, ENTRIES);
  await writePieces(path, async (to: ByteSink) => {
    for (const { offset, bytes } of plan.rest(head)) await to.write(offset, bytes);
    for (const [index, section] of (['A', 'B1', 'C', 'H'] as const).entries()) {
      const { offset, length } = plan.range(section);
      await to.write(offset + length - 64, marker(index + 1));
    }
  });
  return { path, head, plan };
}

test('a key beyond 4 GiB is opened, and read where its parts lie', async (t) => {
  const { path, head, plan } = await largeKey(t);
  await using file = await openFile(path, 'proving key');
  assert.ok(file.byteLength > 2 ** 33);
  const key = await openZkey(file);
  assert.is(key.domainSize, 2 ** BITS);
  assert.equal(key.range('H'), plan.range('H'));
  assert.ok(key.range('C').offset > 2 ** 32);
  const counts = sectionCounts(head);
  for (const [index, section] of (['A', 'B1', 'C', 'H'] as const).entries()) {
    const last = new Uint8Array(128);
    await key.read(section, last, (counts[section] - 2) * 64);
    assert.equal(last.subarray(64), marker(index + 1), `the last point of ${section}`);
    assert.ok(
      last.subarray(0, 64).every((byte) => byte === 0),
      'and nothing before it',
    );
  }
  // Entries behind 2^31 bytes of their section are those: all zero is within the matrices.
  await key.read('entries', new Uint8Array(44), (ENTRIES - 1) * 44);
  assert.instance(
    await key.read('H', new Uint8Array(64), 2 ** BITS * 64).catch((error: unknown) => error),
    RangeError,
  );
});

test('of a huge key that was cut off, or whose sections do not fit it, one sentence is said', async (t) => {
  const { path, plan } = await largeKey(t);
  const outcome = async () => {
    await using file = await openFile(path, 'proving key');
    return await openZkey(file).then(
      () => 'opened',
      (error: { code: string; message: string }) => `${error.code}: ${error.message}`,
    );
  };
  assert.is(await outcome(), 'opened');
  const patch = async (offset: number, value: bigint) => {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, value, true);
    await using file = await open(path, 'r+');
    await file.write(bytes, 0, 8, offset);
  };
  // Section 9, longer than the file by 2^40, and by what wraps around 64 bits.
  const { offset, length } = plan.range('H');
  for (const wrong of [BigInt(length) + 2n ** 40n, 2n ** 64n - 1n]) {
    await patch(offset - 8, wrong);
    assert.match(
      await outcome(),
      /^bad-file: \.zkey file: section 9 says \d+ bytes, \d+ are left; the file is cut off or damaged$/,
    );
  }
  await patch(offset - 8, BigInt(length));
  // B2's 2^32 bytes, whose lower 32 bits are zero.
  const B2 = plan.range('B2');
  assert.is(B2.length, 2 ** 32);
  await patch(B2.offset - 8, 0n);
  assert.match(await outcome(), /^bad-file: /);
  await patch(B2.offset - 8, BigInt(B2.length));
  assert.is(await outcome(), 'opened');
  for (const size of [offset + length - 1, 2 ** 32 + 5, 2 ** 31]) {
    await truncate(path, size);
    assert.match(await outcome(), /^bad-file: \.zkey file: .*cut off/);
  }
});

test('powers of tau beyond 4 GiB', async (t) => {
  const source = await openPowers(bytesSource((await small()).powers));
  const path = join(await temporaryFolder(t), 'large.powers');
  const plan = planPowers(BITS, source.tau2);
  const first = new Uint8Array(128);
  await source.readG1(first);
  await writePieces(path, async (to) => {
    for (const { offset, bytes } of plan.rest) await to.write(offset, bytes);
    await to.write(plan.g1At, first);
    await to.write(plan.g1At + (2 ** (BITS + 1) - 2) * 64, marker(7));
  });
  await using file = await openFile(path, 'powers of tau');
  assert.is(file.byteLength, powersBytes(2 ** BITS));
  const opened = await openPowers(file);
  const last = new Uint8Array(64);
  await opened.readG1(last, 2 ** (BITS + 1) - 2);
  assert.equal(last, marker(7));
});

test.run();

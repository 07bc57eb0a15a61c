/**
 * The attacker is a client with ordinary credentials. He makes the proving key himself, which any client may, and so knows
 * its tau and delta. He wants the weights: with a multiple of G on the points of wires that he chooses, the proof that a
 * coordinator makes with his key verifies exactly when those wires are zero, and how the request ends is the answer, one
 * bit of the model for each request. Where the coordinator looks at the key he tries to have its workers see another.
 */
import { readFile } from 'node:fs/promises';
import { parseSections, readBinFile, writeBinFile } from '../../circuits/groth16/binfile.ts';
import { readElement } from '../../circuits/groth16/field.ts';
import { addPoints, G1, POINT_BYTES, writeG1 } from '../../circuits/groth16/point.ts';
import { prove } from '../../circuits/groth16/prove.ts';
import { parseBytes } from '../../circuits/groth16/source.ts';
import { readZkey, writeZkey, type Zkey } from '../../circuits/groth16/zkey.ts';
import { witnessInput } from '../../circuits/model/emit.ts';
import { sha256Hex, utf8 } from '../../protocols/encoding.ts';
import { RemoteError } from '../../protocols/envelope.ts';
import type { QualityStatement } from '../../protocols/proof.ts';
import { subjects } from '../../protocols/subjects.ts';
import { readNamed } from '../../runtime/home/files.ts';
import { createPool } from '../../runtime/msm/threads/pool.ts';
import { putBlob } from '../../runtime/nats/blobs.ts';
import { prepareCircuit, prepareKey } from '../../runtime/prove/setup.ts';
import { calculateWitness } from '../../runtime/prove/witness-calculator.ts';
import { assert, suite, type TestContext } from '../harness.ts';
import { type ProofFixture, smallSubject, startProving } from '../runtime/roles/proof-fixture.ts';

const test = suite('read weights', { timeoutMs: 180_000 });

const G = writeG1(G1.BASE);

/** The key with points of C or H moved by the generator. */
function moved(zkey: Zkey, section: 'C' | 'H', indices: readonly number[]): Uint8Array {
  const points = zkey.points[section].slice();
  for (const index of indices) {
    const at = index * POINT_BYTES.G1;
    points.set(addPoints('G1', [points.subarray(at, at + POINT_BYTES.G1), G]), at);
  }
  return writeZkey({ ...zkey, points: { ...zkey.points, [section]: points } });
}

async function start(t: TestContext) {
  const subject = await smallSubject();
  const fixture = await startProving(t, subject);
  await Promise.all([fixture.process('coordinator', 'c1'), fixture.process('worker', 'w1')]);
  const zkey = readZkey(subject.zkey);
  const { model, testSet, threshold } = subject;
  const circuit = await prepareCircuit(model.architecture, testSet);
  const witness = await calculateWitness(await readFile(circuit.wasmPath), witnessInput(model, threshold));
  // Private wires that are bits: the attacker has their numbers from the circuit, their values are what he is after.
  const values = Array.from({ length: zkey.variables }, (_, wire) => readElement(witness, wire * 32));
  const ofC = (value: bigint) => values.indexOf(value, zkey.publics + 1) - zkey.publics - 1;
  const [zero, one] = [moved(zkey, 'C', [ofC(0n)]), moved(zkey, 'C', [ofC(1n)])];
  return { fixture, circuit, zkey, witness, zero, one };
}

/** All that the requester is told of how his request ended. */
async function outcomeOf(fixture: ProofFixture, changes: Partial<QualityStatement>) {
  const request = await fixture.ask(changes);
  const ended: unknown = await request.done.catch((reason: unknown) => reason);
  const computed = request.heard.some(({ body }) => body.phase === 'transforming');
  if (ended instanceof RemoteError) return { code: ended.code, message: ended.message, computed };
  const { record } = ended as Awaited<typeof request.done>;
  return { code: 'published', message: record.workers.map(({ id }) => id).join(), computed };
}

test('a key whose proofs verify when a chosen bit of the weights is zero is refused, whatever that bit is', async (t) => {
  const { fixture, circuit, zkey, witness, zero, one } = await start(t);
  await using pool = await createPool({ threads: 1 });
  await prove(readZkey(zero), witness, pool);
  await prove(readZkey(one), witness, pool).then(
    () => assert.unreachable('the key answers the same for both bits: it is no oracle'),
    (error: { code?: string }) => assert.is(error.code, 'proof-rejected'),
  );

  const store = async (bytes: Uint8Array) => (await putBlob(fixture.client, 'keys', bytes)).digest;
  const outcome = (changes: Partial<QualityStatement>) => outcomeOf(fixture, changes);
  const refused = await outcome({ key: await store(zero) });
  assert.is(refused.code, 'key-rejected', refused.message);
  assert.match(refused.message, /IC and C/);
  assert.not(refused.computed, 'nothing was computed with a witness');
  assert.equal(
    await outcome({ key: await store(one) }),
    refused,
    'the same for a true guess and a false one',
  );
  // Nor is the answer that of the model when the statement is false: the key comes first.
  const { rows } = fixture.statement;
  assert.equal(await outcome({ key: await store(zero), threshold: rows }), refused);

  // The quotient's points are no better, and other powers do not make up for it.
  assert.is((await outcome({ key: await store(moved(zkey, 'H', [1, 5])) })).code, 'key-rejected');
  const other = await prepareKey({ ...circuit, digest: 'f'.repeat(64) });
  const powers = await store(readNamed(other.powers, 'powers of tau'));
  assert.is((await outcome({ key: await store(zero), powers })).code, 'key-rejected');

  // The honest key passes, and is remembered with its own powers only.
  await fixture.check(await fixture.ask());
  assert.is((await outcome({ powers })).code, 'key-rejected');
  assert.equal(await outcome({ key: await store(one) }), refused);
});

/**
 * A blob that is the right key as a whole, and the wrong one where chunks are found by the length of the first: behind a long
 * second chunk, with the rest of the right file, lies the wrong file from where the third would begin.
 */
async function storeUneven({ client }: ProofFixture, right: Uint8Array, wrong: Uint8Array): Promise<string> {
  const length = Math.floor(readZkey(right).range('C').offset / 2);
  const sections = readBinFile(right, 'zkey', 1);
  const ids = Array.from({ length: 10 }, (_, index) => index + 1);
  const bytes = writeBinFile('zkey', 1, [
    ...ids.map((id) => [id, sections.section(id)] as const),
    [20, wrong.subarray(2 * length)],
  ]);
  const { offset } = parseBytes(bytes, parseSections(bytes.byteLength, 'zkey', 1)).range(20);
  const cuts = [0, length];
  for (let at = offset; at < bytes.byteLength; at += length) cuts.push(at);
  const parts = cuts.map((at, index) => bytes.subarray(at, cuts[index + 1]));
  const append = async (chunk: Uint8Array) => {
    await client.append(subjects.key(client.id, sha256Hex(chunk)), chunk, { msgId: crypto.randomUUID() });
    return { sha256: sha256Hex(chunk), size: chunk.byteLength };
  };
  const chunks: Awaited<ReturnType<typeof append>>[] = [];
  for (const part of parts) chunks.push(await append(part));
  const manifest = { type: 'vouch.blob', version: 1, size: bytes.byteLength, chunks };
  return (await append(utf8(JSON.stringify(manifest)))).sha256;
}

test('a key that is right as a whole and another in the chunks that workers read is refused', async (t) => {
  const { fixture, zkey, zero, one } = await start(t);
  const right = writeZkey(zkey);
  const outcomes = [];
  for (const wrong of [zero, one])
    outcomes.push(await outcomeOf(fixture, { key: await storeUneven(fixture, right, wrong) }));
  const [first, second] = outcomes as [(typeof outcomes)[0], (typeof outcomes)[0]];
  // Published either way where it is not refused; by workers alone for a true guess, and mended by the coordinator
  // for a false one.
  assert.is(first.code, 'bad-file', `${first.message}; ${second.message}`);
  assert.match(first.message, /chunk 1 has \d+ bytes, expected \d+ as all but the last/);
  assert.not(first.computed);
  assert.equal(second.code, first.code);
});

test.run();

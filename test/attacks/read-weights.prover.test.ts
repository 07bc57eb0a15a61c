/**
 * The attacker is a client with ordinary credentials. He makes the proving key himself, which any client may, and so knows
 * its tau and delta. He wants the weights: with a multiple of G on the points of wires that he chooses, the proof that a
 * coordinator makes with his key verifies exactly when those wires are zero, and "published" or "failed" is the answer,
 * one bit of the model for each request.
 */
import { readFile } from 'node:fs/promises';
import { readElement } from '../../circuits/groth16/field.ts';
import { addPoints, G1, POINT_BYTES, writeG1 } from '../../circuits/groth16/point.ts';
import { prove } from '../../circuits/groth16/prove.ts';
import { readZkey, writeZkey, type Zkey } from '../../circuits/groth16/zkey.ts';
import { witnessInput } from '../../circuits/model/emit.ts';
import { RemoteError } from '../../protocols/envelope.ts';
import type { QualityStatement } from '../../protocols/proof.ts';
import { createPool } from '../../runtime/msm/threads/pool.ts';
import { putBlob } from '../../runtime/nats/blobs.ts';
import { calculateWitness } from '../../runtime/prove/circuit-compiler.ts';
import { prepareCircuit, prepareKey } from '../../runtime/prove/setup.ts';
import { assert, suite } from '../harness.ts';
import { smallSubject, startProving } from '../runtime/roles/proof-fixture.ts';

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

test('a key whose proofs verify when a chosen bit of the weights is zero is refused, whatever that bit is', async (t) => {
  const subject = await smallSubject();
  const fixture = await startProving(t, subject);
  await fixture.process('coordinator', 'c1');
  const zkey = readZkey(subject.zkey);
  const { model, testSet, threshold } = subject;
  const circuit = await prepareCircuit(model.architecture, testSet);
  const witness = await calculateWitness(await readFile(circuit.wasmPath), witnessInput(model, threshold));

  // Private wires that are bits: the attacker has their numbers from the circuit, their values are what he is after.
  const values = Array.from({ length: zkey.variables }, (_, wire) => readElement(witness, wire * 32));
  const ofC = (value: bigint) => values.indexOf(value, zkey.publics + 1) - zkey.publics - 1;
  const [zero, one] = [moved(zkey, 'C', [ofC(0n)]), moved(zkey, 'C', [ofC(1n)])];
  await using pool = await createPool({ threads: 1 });
  await prove(readZkey(zero), witness, pool);
  await prove(readZkey(one), witness, pool).then(
    () => assert.unreachable('the key answers the same for both bits: it is no oracle'),
    (error: { code?: string }) => assert.is(error.code, 'proof-rejected'),
  );

  const outcomeOf = async (changes: Partial<QualityStatement>) => {
    const request = await fixture.ask(changes);
    const error: unknown = await request.done.then(
      () => 'published',
      (reason: unknown) => reason,
    );
    if (!(error instanceof RemoteError)) throw new Error(`expected a failure of the job, got ${error}`);
    const phases = new Set(request.heard.map(({ body }) => body.phase));
    assert.not(phases.has('transforming'), 'nothing was computed with a witness');
    assert.is(await fixture.proofsOf(request.job), 0);
    return { code: error.code, message: error.message };
  };
  const store = async (bytes: Uint8Array) => (await putBlob(fixture.client, 'keys', bytes)).digest;
  const refused = await outcomeOf({ key: await store(zero) });
  assert.is(refused.code, 'key-rejected', refused.message);
  assert.match(refused.message, /IC and C/);
  assert.equal(
    await outcomeOf({ key: await store(one) }),
    refused,
    'the same for a true guess and a false one',
  );
  // Nor is the answer that of the model when the statement is false: the key comes first.
  const { rows } = fixture.statement;
  assert.equal(await outcomeOf({ key: await store(zero), threshold: rows }), refused);

  // The quotient's points are no better, and other powers do not make up for it.
  const { code } = await outcomeOf({ key: await store(moved(zkey, 'H', [1, 5])) });
  assert.is(code, 'key-rejected');
  const other = await prepareKey({ ...circuit, digest: 'f'.repeat(64) });
  const powers = await store(other.powers);
  assert.is((await outcomeOf({ key: await store(zero), powers })).code, 'key-rejected');

  // The honest key passes, and is remembered with its own powers only.
  await fixture.process('worker', 'w1');
  await fixture.check(await fixture.ask());
  assert.is((await outcomeOf({ powers })).code, 'key-rejected');
  assert.equal(await outcomeOf({ key: await store(one) }), refused);
});

test.run();

/**
 * The check of a statement's key before anything of a model meets it: whole, against the circuit that was compiled here and
 * the powers of its tau (circuits/groth16/check-key.ts). A key of another making turns "published or not" into answers about
 * the weights. A key that passed is remembered by the digests of circuit, key and powers, beyond this process: whoever can write
 * this installation's cache can have a key believed.
 */
import { checkKey } from '../../circuits/groth16/check-key.ts';
import type { ProverEngine } from '../../circuits/groth16/engine.ts';
import { openPowers, powersBytes } from '../../circuits/groth16/ptau.ts';
import type { R1cs } from '../../circuits/groth16/r1cs.ts';
import type { ProvingKey } from '../../circuits/groth16/zkey.ts';
import type { Statement } from '../../protocols/proof.ts';
import type { Pool } from '../msm/threads/pool.ts';
import { blobSource, getManifest, type Place } from '../nats/blobs.ts';
import type { Bus } from '../nats/bus.ts';
import { checkOnce, coordinatorChunks } from '../prove/cache.ts';

export interface KeyQuestion {
  readonly statement: Statement;
  /** where the requester has stored key and powers */
  readonly keys: Place;
  /** read, where it is needed, from the blob that the statement names */
  readonly zkey: ProvingKey;
  /** of the circuit that the statement names, read when it is asked for */
  readonly r1cs: () => Promise<R1cs>;
}

/** Throws `key-rejected`, and `bad-file` or `too-large` for powers that are missing, damaged or more than the key asks for. */
export async function demandSoundKey(
  { bus, pool, engine }: { readonly bus: Bus; readonly pool: Pool; readonly engine: ProverEngine },
  { statement, keys, zkey, r1cs }: KeyQuestion,
  signal: AbortSignal,
): Promise<void> {
  await checkOnce(`${statement.circuit}/${statement.key}/${statement.powers}`, async () => {
    const limits = { kept: coordinatorChunks(), signal };
    const maxBytes = powersBytes(zkey.domainSize);
    const manifest = await getManifest(bus, keys, statement.powers, { ...limits, maxBytes });
    const powers = await openPowers(blobSource(bus, keys, manifest, limits));
    const circuit = await r1cs();
    const key = await engine.ready(zkey, { signal, points: 'streamed' });
    try {
      await checkKey(zkey, circuit, powers, { key, curve: engine, field: pool }, { signal });
    } finally {
      key.release();
    }
  });
}

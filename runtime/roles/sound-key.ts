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
import { bytesSource } from '../../circuits/groth16/source.ts';
import type { Zkey } from '../../circuits/groth16/zkey.ts';
import type { QualityStatement } from '../../protocols/proof.ts';
import { folder } from '../home/home.ts';
import type { Pool } from '../msm/threads/pool.ts';
import { getBlob, type Place } from '../nats/blobs.ts';
import type { Bus } from '../nats/bus.ts';
import { checkOnce } from '../prove/cache.ts';

export interface KeyQuestion {
  readonly statement: QualityStatement;
  /** where the requester has stored key and powers */
  readonly keys: Place;
  /** read from the blob that the statement names */
  readonly zkey: Zkey;
  /** of the circuit that the statement names, read when it is asked for */
  readonly r1cs: () => Promise<R1cs>;
}

/** Throws `key-rejected`, and `bad-file` or `too-large` for powers that are missing, damaged or more than the key asks for. */
export async function demandSoundKey(
  { bus, pool, engine }: { readonly bus: Bus; readonly pool: Pool; readonly engine: ProverEngine },
  { statement, keys, zkey, r1cs: circuit }: KeyQuestion,
  signal: AbortSignal,
): Promise<void> {
  await checkOnce(`${statement.circuit}/${statement.key}/${statement.powers}`, async () => {
    const maxBytes = powersBytes(zkey.domainSize);
    const file = await getBlob(bus, keys, statement.powers, {
      cacheDir: folder('cache', 'blobs'),
      signal,
      maxBytes,
    });
    const powers = await openPowers(bytesSource(file));
    const r1cs = await circuit();
    const key = await engine.ready(zkey, { signal });
    try {
      await checkKey(zkey, r1cs, powers, { key, curve: engine, field: pool }, { signal });
    } finally {
      key.release();
    }
  });
}

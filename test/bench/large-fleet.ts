/**
 * The sums of a large key by two workers in processes of their own, over a real server: the key is stored in its chunks, scalars are
 * sealed, the coordinator's ledger gives them out. The circuit is one that nobody can ask a coordinator to prove, so witness and
 * transforms are made here, and the proof is put together and verified here, by our verifier.
 */
import { join } from 'node:path';
import { assemble, transform } from '../../circuits/groth16/prove.ts';
import { verificationKey } from '../../circuits/groth16/verify.ts';
import { openWitness } from '../../circuits/groth16/witness.ts';
import { openZkey } from '../../circuits/groth16/zkey.ts';
import { SCALAR_BYTES } from '../../protocols/bn254.ts';
import { openFile } from '../../runtime/home/file-source.ts';
import { sectionSums, sharesOf } from '../../runtime/msm/shards/sums.ts';
import { createPool } from '../../runtime/msm/threads/pool.ts';
import { putBlob } from '../../runtime/nats/blobs.ts';
import { groth16 } from '../../runtime/prove/prover.ts';
import { startHome, until } from '../runtime/home/home-fixture.ts';
import { startDispatching } from './dist-coordinator.ts';
import { withDefer } from './dist-stand.ts';
import { watchMemory } from './memory.ts';
import { peakOfSelf } from './own-peak.ts';
import type { BenchContext } from './result.ts';
import { timed } from './statistics.ts';

const WORKERS = ['w1', 'w2'];
/** Of 2^22 on a busy machine: the first proof fetches and checks all chunks. */
const PATIENCE_MS = 3_600_000;

export interface LargeFleetProof {
  /** Until the key lay on the server. */
  readonly storedMs: number;
  readonly transformMs: number;
  /** From the first scalars to the last sum, bases fetched; and again with the bases that the workers have kept. */
  readonly sumsMs: readonly [first: number, second: number];
  /** Most resident bytes: of this process, which also holds the witness and the transforms, and of each worker. */
  readonly peak: number;
  readonly workerPeaks: readonly number[];
}

export const proveByFleet = (folder: string, { say, signal }: BenchContext): Promise<LargeFleetProof> =>
  withDefer({ signal }, async (t) => {
    await using zkeyFile = await openFile(join(folder, 'circuit.zkey'), 'proving key');
    await using witnessFile = await openFile(join(folder, 'witness.wtns'), 'witness');
    const zkey = await openZkey(zkeyFile);
    const { count, read } = await openWitness(witnessFile);
    const witness = new Uint8Array(count * SCALAR_BYTES);
    await read(witness);

    const home = await startHome(t);
    const client = await home.bus('client', 'bench');
    say('storing the key');
    const { value: stored, ms: storedMs } = await timed(() => putBlob(client, 'keys', zkeyFile, { signal }));
    const { fleet, dispatcher } = await startDispatching(home, t.defer);
    const memory = watchMemory(process.pid);
    t.defer(() => memory.stop());
    for (const id of WORKERS) await home.process('worker', id);
    await until(() => fleet.ready().length === WORKERS.length, PATIENCE_MS);

    const pool = await createPool({ threads: 2 });
    t.defer(() => pool.close());
    say('transforming');
    const ready = await pool.ready(zkey, { points: 'streamed' });
    const { value: transformed, ms: transformMs } = await timed(() => transform(zkey, witness, ready));
    ready.release();
    const { scalars, publicSignals } = transformed;

    const sumOnce = async (job: string) => {
      const distribution = dispatcher.open({
        job,
        client: client.id,
        epoch: 1,
        key: zkey,
        manifest: stored.manifest,
        isBit: () => false,
        onNews: () => {},
      });
      t.defer(() => distribution.stop());
      distribution.add('wires', witness);
      distribution.add('quotient', scalars.H);
      const parts = await distribution.finished;
      say(`${job}: ${JSON.stringify(sharesOf(parts))}`);
      const proof = await assemble(zkey, sectionSums(zkey, parts), 1n, 2n, pool);
      if (!(await groth16.verify(verificationKey(zkey), publicSignals.map(String), proof)))
        throw new Error(`${job}: the proof does not verify`);
    };
    const first = await timed(() => sumOnce('first'));
    const second = await timed(() => sumOnce('second'));
    const peaks = memory.stop();
    return {
      storedMs,
      transformMs,
      sumsMs: [first.ms, second.ms],
      peak: peakOfSelf(),
      workerPeaks: WORKERS.flatMap((id) => peaks.get(id) ?? []),
    };
  });

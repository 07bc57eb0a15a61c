/**
 * A large circuit and its key in a process of its own: `large-setup.ts BITS FOLDER THREADS` writes circuit.r1cs, witness.wtns,
 * circuit.zkey and circuit.powers there, and prints a `LargeSetup`.
 *
 * UNSAFE: tau and the other secrets are written below, so anybody forges with this key. It is for measuring only.
 */
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setupTo } from '../../circuits/groth16/setup.ts';
import { openFile } from '../../runtime/home/file-source.ts';
import { writePieces } from '../../runtime/home/files.ts';
import { createPool } from '../../runtime/msm/threads/pool.ts';
import { writeLargeCircuit } from './large-circuit.ts';
import { peakOfSelf } from './own-peak.ts';

/** Known to everybody. */
const UNSAFE_SECRETS = { tau: 0x123456789n, alpha: 3n, beta: 5n, delta: 7n };

export interface LargeSetup {
  readonly constraints: number;
  /** of the `.zkey` */
  readonly bytes: number;
  readonly ms: number;
  readonly peak: number;
}

const [bits, folder, threads] = process.argv.slice(2) as [string, string, string];
const file = (name: string) => join(folder, name);
const constraints = await writePieces(file('circuit.r1cs'), (r1cs) =>
  writePieces(file('witness.wtns'), (wtns) => writeLargeCircuit(Number(bits), { r1cs, wtns })),
);
const began = performance.now();
{
  await using pool = await createPool({ threads: Number(threads) });
  await using r1cs = await openFile(file('circuit.r1cs'), 'circuit');
  const engines = { field: pool, points: pool, hash: () => createHash('blake2b512') };
  let said = 0;
  await writePieces(file('circuit.zkey'), (zkey) =>
    writePieces(file('circuit.powers'), (powers) =>
      setupTo({ zkey, powers }, r1cs, engines, {
        secrets: UNSAFE_SECRETS,
        onProgress: ({ done, total }) => {
          const tenth = total === 0 ? 0 : Math.floor((10 * done) / total);
          if (tenth > said) process.stderr.write(`  ${10 * tenth} % of the key's points\n`);
          said = tenth;
        },
      }),
    ),
  );
}
const { size: bytes } = await stat(file('circuit.zkey'));
const result: LargeSetup = { constraints, bytes, ms: performance.now() - began, peak: peakOfSelf() };
console.log(JSON.stringify(result));

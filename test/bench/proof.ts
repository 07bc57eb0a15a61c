/**
 * The quality proof: as a client of a running stack waits for it, and step by step on this host alone beside
 * snarkjs on the very same files.
 */
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { prove } from '../../circuits/groth16/prove.ts';
import { setup } from '../../circuits/groth16/setup.ts';
import { verificationKey, verify } from '../../circuits/groth16/verify.ts';
import { readWitness, writeWitness } from '../../circuits/groth16/witness.ts';
import { readZkey } from '../../circuits/groth16/zkey.ts';
import { emitQualityCircuit, witnessInput } from '../../circuits/model/emit.ts';
import { equal } from '../../protocols/encoding.ts';
import { verifyProof } from '../../runtime/client/client.ts';
import { createProgress } from '../../runtime/client/progress.ts';
import { requestProof } from '../../runtime/client/proof-request.ts';
import { prepareStatement } from '../../runtime/client/quality-proof.ts';
import { folder } from '../../runtime/home/home.ts';
import { policyFile, readPolicy } from '../../runtime/installation/policies.ts';
import { createPool } from '../../runtime/msm/threads/pool.ts';
import type { Bus } from '../../runtime/nats/bus.ts';
import { circuitToolchain, compileCircuit } from '../../runtime/prove/circuit-compiler.ts';
import { prepareCircuit, prepareKey } from '../../runtime/prove/setup.ts';
import { calculateWitness } from '../../runtime/prove/witness-calculator.ts';
import { openOracle } from '../circuits/groth16-oracle.ts';
import { type BenchContext, type Row, RUNS, row } from './result.ts';
import { CLIENT_SOURCE, type Subject } from './stack.ts';
import { median, timed } from './statistics.ts';

/** A row of seconds. */
const inSeconds = (name: string, samples: readonly number[], peer?: readonly number[]): Row =>
  row({
    name,
    unit: 's',
    ours: median(samples) / 1000,
    ...(peer ? { peer: { name: 'snarkjs', value: median(peer) / 1000 } } : {}),
  });

/** Proofs by the running coordinator and workers. */
export async function benchmarkFleet(
  bus: Bus,
  { manifest, testSet, threshold }: Subject,
  { say, signal }: BenchContext,
): Promise<Row[]> {
  const policy = readPolicy(policyFile('prover'));
  const progress = createProgress();
  const { statement } = await prepareStatement(bus, { manifest, testSet, threshold }, { progress, signal });
  progress.stop();
  const waits: number[] = [];
  const phases = new Map<string, number[]>();
  let workers = 0;
  for (let run = 1; run <= RUNS; run++) {
    const { value, ms } = await timed(() => requestProof(bus, CLIENT_SOURCE, statement, { signal }));
    const { verified } = await verifyProof(value, { policy, modelCommitment: manifest.commitment });
    if (!verified) throw new Error(`proof ${value.record.job} does not verify`);
    waits.push(ms);
    for (const [phase, spent] of Object.entries(value.record.phases))
      phases.set(phase, [...(phases.get(phase) ?? []), spent]);
    workers = Math.max(workers, value.record.workers.length);
    say(`proof by the fleet, ${run} of ${RUNS}: ${(ms / 1000).toFixed(2)} s`);
  }
  return [
    inSeconds(`quality proof, ${workers} workers, from request to proof`, waits),
    ...[...phases].map(([phase, spent]) => inSeconds(`quality proof, ${phase}`, spent)),
  ];
}

/** Compiler, setup, witness, prover and verifier, each alone, on all threads of this host. */
export async function benchmarkSteps(
  { model, testSet, threshold }: Subject,
  { say, signal }: BenchContext,
): Promise<Row[]> {
  const measure = async <T>(what: string, work: () => Promise<T>, check: (value: T) => unknown) => {
    const samples: number[] = [];
    for (let run = 1; run <= RUNS; run++) {
      signal.throwIfAborted();
      const { value, ms } = await timed(work);
      if ((await check(value)) !== true) throw new Error(`${what}: the result is wrong`);
      samples.push(ms);
    }
    say(`${what}: ${(median(samples) / 1000).toFixed(2)} s`);
    return samples;
  };

  const work = await mkdtemp(folder('steps-'));
  const oracle = await openOracle();
  await using pool = await createPool();
  try {
    const { groth16 } = oracle.snarkjs;
    const toolchain = await circuitToolchain();
    const emitted = emitQualityCircuit(model.architecture, testSet, toolchain);
    const cached = await prepareCircuit(model.architecture, testSet, { signal });
    const r1cs = await readFile(cached.r1csPath);
    const wasm = await readFile(cached.wasmPath);

    let builds = 0;
    const compiling = await measure(
      'compiling the circuit',
      () => compileCircuit(emitted, toolchain, { cacheDir: join(work, `build-${builds++}`), signal }),
      async (made) => !made.cached && equal(await readFile(made.r1csPath), r1cs),
    );

    const input = witnessInput(model, threshold);
    const witness = await calculateWitness(wasm, input, { signal });
    const witnessing = await measure(
      'computing the witness',
      () => calculateWitness(wasm, input, { signal }),
      (got) => equal(got, witness),
    );

    const engines = { field: pool, points: pool };
    const setups = await measure(
      'making the key',
      () => setup(r1cs, engines, { signal }),
      async ({ zkey, verificationKey: key }) => {
        const made = readZkey(zkey);
        const { proof, publicSignals } = await prove(made, witness, pool);
        return groth16.verify(key, publicSignals, proof);
      },
    );

    const [zkeyFile, wtnsFile] = [join(work, 'key.zkey'), join(work, 'witness.wtns')];
    await copyFile((await prepareKey(cached, { signal })).zkey, zkeyFile);
    await writeFile(wtnsFile, writeWitness(witness));
    const key = verificationKey(readZkey(await readFile(zkeyFile)));
    const holds = ({ proof, publicSignals }: Awaited<ReturnType<typeof groth16.prove>>) =>
      groth16.verify(key, publicSignals, proof);
    const proveHere = async () => {
      const zkey = readZkey(await readFile(zkeyFile));
      const values = readWitness(await readFile(wtnsFile));
      return prove(zkey, values, pool, { signal });
    };
    const proveThere = () => groth16.prove(zkeyFile, wtnsFile);
    const proving = await measure('proving', proveHere, holds);
    const provingPeer = await measure('proving with snarkjs', proveThere, holds);

    const { proof, publicSignals } = await proveHere();
    const verifying = await measure(
      'verifying',
      async () => verify(key, publicSignals, proof),
      (ok) => ok,
    );
    const verifyingPeer = await measure(
      'verifying with snarkjs',
      () => groth16.verify(key, publicSignals, proof),
      (ok) => ok,
    );
    const size = `${cached.constraints} constraints`;
    return [
      inSeconds(`circuit compiled, ${size}`, compiling),
      inSeconds(`local setup, domain 2^${Math.log2(readZkey(await readFile(zkeyFile)).domainSize)}`, setups),
      inSeconds('witness', witnessing),
      inSeconds(`proof on one host, file to verified proof, ${pool.threads} threads`, proving, provingPeer),
      inSeconds('proof verified', verifying, verifyingPeer),
    ];
  } finally {
    await oracle.close();
    await rm(work, { recursive: true, force: true });
  }
}

/**
 * A single-party setup: draws the secrets of both Groth16 phases itself, evaluates the proving key's scalars at tau in
 * the field, turns them into points and writes a `.zkey` that snarkjs proves and verifies with (snarkjs
 * `src/zkey_new.js`, `src/zkey_contribute.js`). Seconds instead of a ceremony's hours.
 *
 * INSECURE-SINGLE-PARTY: whoever runs this can forge proofs for the key unless the secrets are gone. Buffers that held
 * them are zeroed, but JavaScript cannot erase a BigInt; only its own maker may trust such a key.
 */
import { ceremonyHash, contribution, type RunningHash, uncompressedG1, uncompressedG2 } from './ceremony.ts';
import type { EngineOptions, FieldEngine, FixedBaseEngine, Section } from './engine.ts';
import { ELEMENT_BYTES, MONTGOMERY_R, power, R, randomScalar } from './field.ts';
import { G1, G2, type Group, multiplyG1, multiplyG2, POINT_BYTES, writeG1, writeG2 } from './point.ts';
import { planPowers, powersCount } from './ptau.ts';
import { keyEntries, type Qap, qapOf } from './qap.ts';
import { openR1cs } from './r1cs.ts';
import { evaluate, type KeyScalars, powersOf, type Secrets, scaled } from './setup-scalars.ts';
import { type ByteSink, type ByteSource, bytesSink, bytesSource } from './source.ts';
import { type VerificationKey, verificationKey } from './verify.ts';
import { type KeyHead, planZkey, sectionCounts } from './zkey.ts';

export type { Secrets } from './setup-scalars.ts';

/** The mark of a key that one party made: the setup's answer, the name of the contribution inside the key. */
export const INSECURE_SINGLE_PARTY = 'INSECURE-SINGLE-PARTY';
/** Scalars per task: about 40 ms of G1 work, so that progress and cancelling are prompt. */
const CHUNK = 4096;
/** Tasks under way at once; more than a pool has threads, so that none waits. */
const IN_FLIGHT = 32;
/** snarkjs hashes the ceremony's points in chunks of 2^14 and always reads whole ones. */
const HASH_CHUNK = 2 ** 14;

export interface SetupProgress {
  readonly phase: 'evaluating' | 'multiplying';
  /** Points made so far, of `total`; both 0 while evaluating. */
  readonly done: number;
  readonly total: number;
}

export interface SetupOptions extends EngineOptions {
  readonly onProgress?: ((progress: SetupProgress) => void) | undefined;
  /** Known secrets, 1 .. r-1, for comparing with a ceremony; fresh ones otherwise. */
  readonly secrets?: Secrets | undefined;
}

export interface SetupResult {
  /** The `.zkey` file. */
  readonly zkey: Uint8Array<ArrayBuffer>;
  /** tau's powers, with which others check the key: a file as ptau.ts writes it. */
  readonly powers: Uint8Array<ArrayBuffer>;
  readonly verificationKey: VerificationKey;
  readonly insecure: typeof INSECURE_SINGLE_PARTY;
}

export interface SetupEngines {
  readonly field: FieldEngine;
  readonly points: FixedBaseEngine;
  /** blake2b-512, where the host has a faster one: 430 bytes are hashed for each row of the domain. */
  readonly hash?: (() => RunningHash) | undefined;
}

/** Where a setup's files go; both are written piece by piece. */
export interface SetupFiles {
  /** the `.zkey` file */
  readonly zkey: ByteSink;
  /** tau's powers, with which others check the key: a file as ptau.ts writes it */
  readonly powers: ByteSink;
}

/** Makes the key of a circuit, given as the bytes of its `.r1cs`, in memory. Throws as `setupTo`. */
export async function setup(
  r1csFile: Uint8Array,
  engines: SetupEngines,
  options: SetupOptions = {},
): Promise<SetupResult> {
  const [zkey, powers] = [bytesSink(), bytesSink()];
  const made = await setupTo({ zkey, powers }, bytesSource(r1csFile), engines, options);
  return { zkey: zkey.bytes(), powers: powers.bytes(), ...made };
}

/**
 * Makes the key of a circuit. In memory are the circuit's terms and four scalars for each wire or row, never the points.
 * `bad-file` or `too-large` for the circuit's faults, and what the sinks throw.
 */
export async function setupTo(
  files: SetupFiles,
  circuit: ByteSource,
  { field, points: multiplier, hash: createHash = ceremonyHash }: SetupEngines,
  options: SetupOptions = {},
): Promise<Pick<SetupResult, 'verificationKey' | 'insecure'>> {
  const secrets = options.secrets ?? {
    tau: randomScalar(),
    alpha: randomScalar(),
    beta: randomScalar(),
    delta: randomScalar(),
  };
  for (const [name, value] of Object.entries(secrets)) {
    if (value <= 0n || value >= R) throw new RangeError(`${name} must be from 1 to r - 1`);
  }
  options.onProgress?.({ phase: 'evaluating', done: 0, total: 0 });
  const r1cs = await openR1cs(circuit);
  const qap = qapOf(r1cs);
  const plan = planZkey(qap, qap.entries);
  let at = plan.range('entries').offset;
  for await (const entries of keyEntries(r1cs, qap, field, options)) {
    await files.zkey.write(at, entries);
    at += entries.byteLength;
  }
  const scalars = await evaluate(r1cs, qap, secrets, field, options);
  try {
    const header = headerPoints(secrets);
    const hash = createHash();
    for (const name of ['alpha1', 'beta1'] as const) hash.update(uncompressedG1(header.points[name]));
    // gamma and delta enter as the generators: a contribution comes after the hash.
    for (const point of [header.points.beta2, G2.BASE]) hash.update(uncompressedG2(point));
    hash.update(uncompressedG1(G1.BASE)).update(uncompressedG2(G2.BASE));
    const powersPlan = planPowers(Math.log2(qap.domainSize), writeG2(multiplyG2(G2.BASE, secrets.tau)));
    const ic = new Uint8Array((qap.publics + 1) * POINT_BYTES.G1);
    const targets: Targets = {
      ic: async (offset, bytes) => ic.set(bytes, offset),
      section: (name) => (offset, bytes) => files.zkey.write(plan.range(name).offset + offset, bytes),
      powers: (offset, bytes) => files.powers.write(powersPlan.g1At + offset, bytes),
    };
    const jobs = jobsOf(qap, scalars, targets, secrets, field, options);
    await multiplyAll(jobs, hash, multiplier, options);

    const circuitHash = hash.digest();
    const head: KeyHead = {
      variables: qap.variables,
      publics: qap.publics,
      domainSize: qap.domainSize,
      header: header.bytes,
      ic,
      contributions: {
        circuitHash,
        list: secrets.delta === 1n ? [] : [contribution(circuitHash, secrets.delta, INSECURE_SINGLE_PARTY)],
      },
    };
    for (const { offset, bytes } of plan.rest(head)) await files.zkey.write(offset, bytes);
    for (const { offset, bytes } of powersPlan.rest) await files.powers.write(offset, bytes);
    return { verificationKey: verificationKey(head), insecure: INSECURE_SINGLE_PARTY };
  } finally {
    for (const vector of Object.values(scalars)) vector.fill(0);
  }
}

function headerPoints({ alpha, beta, delta }: Secrets) {
  const points = {
    alpha1: multiplyG1(G1.BASE, alpha),
    beta1: multiplyG1(G1.BASE, beta),
    beta2: multiplyG2(G2.BASE, beta),
    delta1: multiplyG1(G1.BASE, delta),
    delta2: multiplyG2(G2.BASE, delta),
  };
  const bytes = {
    alpha1: writeG1(points.alpha1),
    beta1: writeG1(points.beta1),
    beta2: writeG2(points.beta2),
    // snarkjs's ceremonies leave gamma at the generator; only delta gets contributions.
    gamma2: writeG2(G2.BASE),
    delta1: writeG1(points.delta1),
    delta2: writeG2(points.delta2),
  };
  return { points, bytes };
}

type Write = (offset: number, points: Uint8Array) => Promise<void>;
/** Where points go, by their byte in what they belong to. */
interface Targets {
  readonly ic: Write;
  readonly powers: Write;
  section(name: Section): Write;
}

/** Scalars on their way to points. */
interface Job {
  readonly group: Group;
  readonly count: number;
  /** `count` of them from `first` on; wiped after their use where they were made for it */
  scalars(first: number, count: number): Uint8Array | Promise<Uint8Array>;
  /** Where the points go; nowhere when only the hash needs them. */
  readonly target?: Write | undefined;
  /** The count that the hash puts before the points; without it they are not hashed. */
  readonly hashedCount?: number | undefined;
}

/** All points in the order in which they are hashed. */
function jobsOf(
  qap: Qap,
  { A, B, K, H }: KeyScalars,
  { ic, powers, section }: Targets,
  { tau, delta }: Secrets,
  field: FieldEngine,
  options: EngineOptions,
): Job[] {
  const size = qap.domainSize;
  const counts = sectionCounts(qap);
  const from = (vector: Uint8Array) => (first: number, count: number) =>
    vector.subarray(first * ELEMENT_BYTES, (first + count) * ELEMENT_BYTES);
  const powersTimes = (factor: bigint) => (first: number, count: number) =>
    powersOf(factor * MONTGOMERY_R, tau, { first, count }, field, options);
  const contributed = delta !== 1n;
  const ofC = from(K.subarray((qap.publics + 1) * ELEMENT_BYTES));
  const overDelta = power(delta, R - 2n);
  return [
    { group: 'G1', count: qap.publics + 1, scalars: from(K), target: ic, hashedCount: qap.publics + 1 },
    {
      // tau^(N+i) - tau^i, which only the hash needs. Beyond one chunk snarkjs hashes whole chunks, which includes the point
      // after the last.
      group: 'G1',
      count: size <= HASH_CHUNK ? size - 1 : size,
      scalars: powersTimes((power(tau, BigInt(size)) - 1n + R) % R),
      hashedCount: size - 1,
    },
    {
      group: 'G1',
      count: counts.C,
      scalars: ofC,
      target: contributed ? undefined : section('C'),
      hashedCount: counts.C,
    },
    { group: 'G1', count: counts.A, scalars: from(A), target: section('A'), hashedCount: counts.A },
    { group: 'G1', count: counts.B1, scalars: from(B), target: section('B1'), hashedCount: counts.B1 },
    { group: 'G2', count: counts.B2, scalars: from(B), target: section('B2'), hashedCount: counts.B2 },
    ...(contributed
      ? [
          {
            group: 'G1' as const,
            count: counts.C,
            scalars: (first: number, count: number) => scaled(ofC(first, count), overDelta, field, options),
            target: section('C'),
          },
        ]
      : []),
    { group: 'G1', count: counts.H, scalars: from(H), target: section('H') },
    // tau^i, which are no part of the key: what it is checked with.
    { group: 'G1', count: powersCount(size), scalars: powersTimes(1n), target: powers },
  ];
}

/** Makes all points, keeping the engine supplied. */
async function multiplyAll(
  jobs: readonly Job[],
  hash: RunningHash,
  engine: FixedBaseEngine,
  { onProgress, signal }: SetupOptions,
): Promise<void> {
  const total = jobs.reduce((sum, { count }) => sum + count, 0);
  let done = 0;

  /** Makes one chunk; answers what the hash takes of it. */
  const make = async ({ group, scalars, target, hashedCount }: Job, first: number, count: number) => {
    const given = scalars(first, count);
    const own = await given;
    const made = await engine.multiples(group, own, { signal });
    if (given instanceof Promise) own.fill(0);
    await target?.(first * POINT_BYTES[group], made);
    const hashed = hashedCount === undefined ? undefined : await engine.uncompressed(group, made, { signal });
    done += count;
    onProgress?.({ phase: 'multiplying', done, total });
    return hashed;
  };
  const pending: Array<Promise<Uint8Array | undefined>> = [];
  const settle = async () => {
    const hashed = await pending.shift();
    if (hashed) hash.update(hashed);
  };
  try {
    for (const job of jobs) {
      if (job.hashedCount !== undefined) pending.push(Promise.resolve(bigEndian32(job.hashedCount)));
      for (let first = 0; first < job.count; first += CHUNK) {
        const chunk = make(job, first, Math.min(CHUNK, job.count - first));
        // The first failure is thrown by settle(); those of the chunks behind it must not go unhandled.
        chunk.catch(() => undefined);
        pending.push(chunk);
        if (pending.length > IN_FLIGHT) await settle();
      }
    }
    while (pending.length > 0) await settle();
  } finally {
    // Nobody writes to a sink any more when this has ended.
    await Promise.allSettled(pending);
  }
}

function bigEndian32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

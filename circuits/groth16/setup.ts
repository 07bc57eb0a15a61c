/**
 * A single-party setup: draws the secrets of both Groth16 phases itself, evaluates the proving key's scalars at tau in
 * the field, turns them into points and writes a `.zkey` that snarkjs proves and verifies with (snarkjs
 * `src/zkey_new.js`, `src/zkey_contribute.js`). Seconds instead of a ceremony's hours.
 *
 * INSECURE-SINGLE-PARTY: whoever runs this can forge proofs for the key unless the secrets are gone. Buffers that held
 * them are zeroed, but JavaScript cannot erase a BigInt; only its own maker may trust such a key.
 */
import { ceremonyHash, contribution, type RunningHash, uncompressedG1, uncompressedG2 } from './ceremony.ts';
import {
  type EngineOptions,
  type FieldEngine,
  type FixedBaseEngine,
  SECTION_GROUP,
  SECTIONS,
  type Section,
} from './engine.ts';
import { ELEMENT_BYTES, ENTRY_BYTES, elementBytes, MONTGOMERY_R, power, R, randomScalar } from './field.ts';
import { G1, G2, type Group, multiplyG1, multiplyG2, POINT_BYTES, writeG1, writeG2 } from './point.ts';
import { powersCount, writePowers } from './ptau.ts';
import { createEntries, type Qap, qapOf } from './qap.ts';
import { type R1cs, readR1cs } from './r1cs.ts';
import { type VerificationKey, verificationKey } from './verify.ts';
import { sectionCounts, writeZkey, type ZkeyContent } from './zkey.ts';

/** The mark of a key that one party made: the setup's answer, the name of the contribution inside the key. */
export const INSECURE_SINGLE_PARTY = 'INSECURE-SINGLE-PARTY';
/** Scalars per task: about 40 ms of G1 work, so that progress and cancelling are prompt. */
const CHUNK = 4096;
/** Tasks under way at once; more than a pool has threads, so that none waits. */
const IN_FLIGHT = 32;
/** snarkjs hashes the ceremony's points in chunks of 2^14 and always reads whole ones. */
const HASH_CHUNK = 2 ** 14;

export interface Secrets {
  readonly tau: bigint;
  readonly alpha: bigint;
  readonly beta: bigint;
  /** 1 leaves out the contribution, as `snarkjs groth16 setup` does; `readZkey` refuses such a key. */
  readonly delta: bigint;
}

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

/** Makes the key of a circuit, given as the bytes of its `.r1cs`. `bad-file` or `too-large` for the circuit's faults. */
export async function setup(
  r1csFile: Uint8Array,
  { field, points: multiplier, hash: createHash = ceremonyHash }: SetupEngines,
  options: SetupOptions = {},
): Promise<SetupResult> {
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
  const r1cs = readR1cs(r1csFile);
  const qap = await qapOf(r1cs, field, options);
  const scalars = await evaluate(r1cs, qap, secrets, field, options);
  try {
    const header = headerPoints(secrets);
    const hash = createHash();
    for (const name of ['alpha1', 'beta1'] as const) hash.update(uncompressedG1(header.points[name]));
    // gamma and delta enter as the generators: a contribution comes after the hash.
    for (const point of [header.points.beta2, G2.BASE]) hash.update(uncompressedG2(point));
    hash.update(uncompressedG1(G1.BASE)).update(uncompressedG2(G2.BASE));
    const { ic, points, powers } = await multiplyAll(
      qap,
      scalars,
      secrets.delta !== 1n,
      hash,
      multiplier,
      options,
    );

    const circuitHash = hash.digest();
    const content: ZkeyContent = {
      variables: qap.variables,
      publics: qap.publics,
      domainSize: qap.domainSize,
      header: header.bytes,
      ic,
      entries: qap.entries,
      points,
      contributions: {
        circuitHash,
        list: secrets.delta === 1n ? [] : [contribution(circuitHash, secrets.delta, INSECURE_SINGLE_PARTY)],
      },
    };
    return {
      zkey: writeZkey(content),
      powers: writePowers(Math.log2(qap.domainSize), powers, writeG2(multiplyG2(G2.BASE, secrets.tau))),
      verificationKey: verificationKey(content),
      insecure: INSECURE_SINGLE_PARTY,
    };
  } finally {
    for (const vector of Object.values(scalars)) vector.fill(0);
  }
}

/** Scalars of every point, standard form, 32 bytes each. Together they are as secret as tau. */
interface KeyScalars {
  readonly A: Uint8Array;
  readonly B: Uint8Array;
  /** beta*A + alpha*B + C of each wire: IC's for the public ones; C's before delta divides for the others. */
  readonly K: Uint8Array;
  /** C's over delta. */
  readonly C: Uint8Array;
  readonly H: Uint8Array;
  /** tau^(N+i) - tau^i, which only the circuit hash needs. */
  readonly vanishing: Uint8Array;
  /** tau^i, which are no part of the key: what it is checked with. */
  readonly powers: Uint8Array;
}

/**
 * The QAP at tau. The Lagrange basis at tau is the inverse NTT of tau's powers: sum_i L_i(tau) f(w^i) = f(tau) for
 * every power f. H's points are the odd ones of the basis of twice the domain, where a quotient's values are taken.
 */
async function evaluate(
  r1cs: R1cs,
  qap: Qap,
  { tau, alpha, beta, delta }: Secrets,
  field: FieldEngine,
  options: EngineOptions,
): Promise<KeyScalars> {
  const size = qap.domainSize;
  const one = elementBytes(MONTGOMERY_R);
  const step = elementBytes((tau * MONTGOMERY_R) % R);
  const invertedDelta = power(delta, R - 2n);
  const used: Uint8Array[] = [step];
  const keep = <T extends Uint8Array>(vector: T): T => {
    used.push(vector);
    return vector;
  };
  /** factor * tau^i / R for i below `count` */
  const powers = async (factor: bigint, count: number) => {
    const ones = new Uint8Array(count * ELEMENT_BYTES);
    for (let at = 0; at < ones.byteLength; at += ELEMENT_BYTES) ones[at] = 1;
    return keep(await field.scale(ones, keep(elementBytes(factor % R)), step, options));
  };
  const scaled = async (vector: Uint8Array, factor: bigint) =>
    keep(await field.scale(vector, keep(elementBytes((factor * MONTGOMERY_R) % R)), one, options));

  const matrices = async () => {
    // Values of the matrices carry R^2, products divide by R once: over R the basis gives standard form.
    const basis = keep(await field.ntt(await powers(1n, size), true, options));
    const [A, B] = await field.sparseProduct(transposed(r1cs, qap), basis, qap.variables, options);

    // One product for beta*A + alpha*B + C: the columns of A meet beta's basis, those of B alpha's, those of C its own.
    const stacked = keep(new Uint8Array(3 * basis.byteLength));
    stacked.set(await scaled(basis, beta));
    stacked.set(await scaled(basis, alpha), basis.byteLength);
    stacked.set(basis, 2 * basis.byteLength);
    const [K, none] = await field.sparseProduct(stackedColumns(r1cs, qap), stacked, qap.variables, options);
    none.fill(0);
    const C = await field.scale(
      K.subarray((qap.publics + 1) * ELEMENT_BYTES),
      keep(elementBytes((invertedDelta * MONTGOMERY_R) % R)),
      one,
      options,
    );
    return { A, B, K, C };
  };
  const quotientBasis = async () => {
    const double = keep(await field.ntt(await powers(invertedDelta * MONTGOMERY_R, 2 * size), true, options));
    const H = new Uint8Array(size * ELEMENT_BYTES);
    // In words: moving 32 bytes by subarray costs more than multiplying them.
    const [from, to] = [new BigUint64Array(new Uint8Array(double).buffer), new BigUint64Array(H.buffer)];
    for (let at = 0; at < to.length; at++) to[at] = from[2 * at - (at % 4) + 4]!;
    from.fill(0n);
    return H;
  };
  const vanish = async () => {
    // Beyond one chunk snarkjs hashes whole chunks, which includes the point after the last.
    const hashed = size <= HASH_CHUNK ? size - 1 : size;
    const vanishing = await powers((power(tau, BigInt(size)) - 1n + R) * MONTGOMERY_R, hashed);
    used.splice(used.indexOf(vanishing), 1);
    return vanishing;
  };
  const ofTau = async () => {
    const all = await powers(MONTGOMERY_R, powersCount(size));
    used.splice(used.indexOf(all), 1);
    return all;
  };
  // Each computes in one of the engine's threads most of the time.
  const parts = [matrices(), quotientBasis(), vanish(), ofTau()] as const;
  try {
    await Promise.allSettled(parts);
    const [ofMatrices, H, vanishing, all] = await Promise.all(parts);
    return { ...ofMatrices, H, vanishing, powers: all };
  } finally {
    for (const vector of used) vector.fill(0);
  }
}

/** A and B with wires as rows, so that a product with the basis evaluates each wire's polynomials. */
function transposed({ constraints, terms }: R1cs, qap: Qap): Uint8Array {
  const entries = createEntries(qap.entries.byteLength / ENTRY_BYTES, qap.values);
  for (let term = 0; term < terms.count; term++) {
    const matrix = terms.matrix[term]!;
    if (matrix < 2) entries.push(matrix, terms.column[term]!, terms.row[term]!, term);
  }
  for (let signal = 0; signal <= qap.publics; signal++)
    entries.push(0, signal, constraints + signal, terms.count);
  return entries.bytes;
}

/** All three matrices with wires as rows, side by side: A's columns first, then B's, then C's. */
function stackedColumns({ constraints, terms }: R1cs, qap: Qap): Uint8Array {
  const entries = createEntries(terms.count + qap.publics + 1, qap.values);
  for (let term = 0; term < terms.count; term++) {
    entries.push(0, terms.column[term]!, terms.matrix[term]! * qap.domainSize + terms.row[term]!, term);
  }
  for (let signal = 0; signal <= qap.publics; signal++)
    entries.push(0, signal, constraints + signal, terms.count);
  return entries.bytes;
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

/** One vector of scalars on its way to points. */
interface Job {
  readonly group: Group;
  readonly scalars: Uint8Array;
  /** Where the points go; nowhere when only the hash needs them. */
  readonly target?: Uint8Array | undefined;
  /** The count that the hash puts before the points; without it they are not hashed. */
  readonly hashedCount?: number | undefined;
}

/** Makes all points in the order in which they are hashed, keeping the engine supplied. */
async function multiplyAll(
  qap: Qap,
  scalars: KeyScalars,
  contributed: boolean,
  hash: RunningHash,
  engine: FixedBaseEngine,
  { onProgress, signal }: SetupOptions,
): Promise<{ ic: Uint8Array; points: Record<Section, Uint8Array>; powers: Uint8Array }> {
  const publicBytes = (qap.publics + 1) * ELEMENT_BYTES;
  const ic = new Uint8Array((qap.publics + 1) * POINT_BYTES.G1);
  const counts = sectionCounts(qap);
  const points = Object.fromEntries(
    SECTIONS.map((name) => [name, new Uint8Array(counts[name] * POINT_BYTES[SECTION_GROUP[name]])]),
  ) as Record<Section, Uint8Array>;
  const powers = new Uint8Array(powersCount(qap.domainSize) * POINT_BYTES.G1);
  const { A, B, K, C, H, vanishing } = scalars;
  const jobs: Job[] = [
    { group: 'G1', scalars: K.subarray(0, publicBytes), target: ic, hashedCount: qap.publics + 1 },
    { group: 'G1', scalars: vanishing, hashedCount: qap.domainSize - 1 },
    {
      group: 'G1',
      scalars: K.subarray(publicBytes),
      target: contributed ? undefined : points.C,
      hashedCount: counts.C,
    },
    { group: 'G1', scalars: A, target: points.A, hashedCount: counts.A },
    { group: 'G1', scalars: B, target: points.B1, hashedCount: counts.B1 },
    { group: 'G2', scalars: B, target: points.B2, hashedCount: counts.B2 },
    ...(contributed ? [{ group: 'G1', scalars: C, target: points.C } as const] : []),
    { group: 'G1', scalars: H, target: points.H },
    { group: 'G1', scalars: scalars.powers, target: powers },
  ];
  const total = jobs.reduce((sum, job) => sum + job.scalars.byteLength / ELEMENT_BYTES, 0);
  let done = 0;

  /** Makes one chunk; answers what the hash takes of it. */
  const make = async ({ group, scalars, target, hashedCount }: Job, from: number, to: number) => {
    const made = await engine.multiples(group, scalars.subarray(from, to), { signal });
    target?.set(made, (from / ELEMENT_BYTES) * POINT_BYTES[group]);
    const hashed = hashedCount === undefined ? undefined : await engine.uncompressed(group, made, { signal });
    done += (to - from) / ELEMENT_BYTES;
    onProgress?.({ phase: 'multiplying', done, total });
    return hashed;
  };
  const pending: Array<Promise<Uint8Array | undefined>> = [];
  const settle = async () => {
    const hashed = await pending.shift();
    if (hashed) hash.update(hashed);
  };
  for (const job of jobs) {
    if (job.hashedCount !== undefined) pending.push(Promise.resolve(bigEndian32(job.hashedCount)));
    for (let from = 0; from < job.scalars.byteLength; from += CHUNK * ELEMENT_BYTES) {
      const chunk = make(job, from, Math.min(from + CHUNK * ELEMENT_BYTES, job.scalars.byteLength));
      // The first failure is thrown by settle(); those of the chunks behind it must not go unhandled.
      chunk.catch(() => undefined);
      pending.push(chunk);
      if (pending.length > IN_FLIGHT) await settle();
    }
  }
  while (pending.length > 0) await settle();
  return { ic, points, powers };
}

function bigEndian32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

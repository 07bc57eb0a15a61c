/**
 * The GPU: products of field elements, sums, transforms and whole proofs, largest value first, because time on a machine
 * with a GPU is scarce: what the minutes do not suffice for is left out and said. Every result is checked before it is
 * timed. A software adapter is taken too, for trying the script; no demand is made of it, and its rows say so.
 *
 * One file, although it is long: one plan decides which of its measurements the minutes suffice for.
 */
import { fork } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SECTION_GROUP, SECTIONS } from '../../circuits/groth16/engine.ts';
import {
  ENTRY_BYTES,
  elementBytes,
  MONTGOMERY_R,
  power,
  R,
  randomScalar,
  readElement,
  rootOfUnity,
  writeElement,
} from '../../circuits/groth16/field.ts';
import {
  G1,
  G2,
  type Group,
  multiplyG1,
  multiplyG2,
  POINT_BYTES,
  writeG1,
  writeG2,
} from '../../circuits/groth16/point.ts';
import { assemble } from '../../circuits/groth16/prove.ts';
import { bytesSource } from '../../circuits/groth16/source.ts';
import { writeWitness } from '../../circuits/groth16/witness.ts';
import { readZkey, sectionCounts, writeZkey } from '../../circuits/groth16/zkey.ts';
import { concat, equal } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { type GpuHandle, openGpu } from '../../runtime/gpu/adapter.ts';
import { uniformScalars } from '../../runtime/gpu/autotune.ts';
import { createPool, type Pool } from '../../runtime/msm/threads/pool.ts';
import { createWebGpuEngine } from '../../runtime/msm/webgpu/engine.ts';
import {
  emitAccess,
  emitField,
  FIELD_VARIANTS,
  FIELDS,
  type FieldVariant,
} from '../../runtime/msm/webgpu/field.ts';
import { createGpuMsm } from '../../runtime/msm/webgpu/msm.ts';
import { createTransforms } from '../../runtime/msm/webgpu/ntt.ts';
import { createQueue, type Queue } from '../../runtime/msm/webgpu/queue.ts';
import { openOracle } from '../circuits/groth16-oracle.ts';
import { repeated } from './inputs.ts';
import { type BenchContext, type Measured, type Row, row } from './result.ts';
import { median, quantile, timed } from './statistics.ts';

const RUNS = 3;
/** Points that are made; longer bases repeat them. */
const DISTINCT_BITS = 14;
const WORKER_SECONDS = 5;
/** Multiply-adds that a product by `words` costs: some 512 in wide multiplications, some 2000 by the ladder. */
const FOLDED_BELOW = 1000;

/** In the order in which they are worth their time. */
const PLAN: readonly (readonly ['G1' | 'G2' | 'transforms' | 'proof' | 'workers', number])[] = [
  ['G1', 20],
  ['proof', 20],
  ['G1', 16],
  ['G1', 18],
  ['G2', 16],
  ['transforms', 20],
  ['workers', 18],
  ['proof', 16],
  ['proof', 18],
  ['G2', 18],
  ['G2', 20],
  ['G1', 22],
  ['transforms', 16],
  ['transforms', 18],
  ['transforms', 22],
  ['G1', 24],
];

interface World {
  readonly context: BenchContext;
  readonly gpu: GpuHandle;
  readonly queue: Queue;
  readonly pool: Pool;
  readonly variant: FieldVariant;
  readonly threads: number;
  add(measured: Measured): void;
}

export async function benchmarkGpu(context: BenchContext): Promise<Row[]> {
  const { say, signal, maxBits = 30, minutes = 8 } = context;
  const began = performance.now();
  for (const line of vulkanDrivers()) say(line);
  const gpu = await openGpu({ allowSoftware: true });
  const { adapter, driver, software, maxBindingBytes, features } = gpu.capability;
  say(`adapter: ${adapter} (${driver})${software ? ', in SOFTWARE: its times say nothing about GPUs' : ''}`);
  say(`bindings of ${(maxBindingBytes / 2 ** 20).toFixed(0)} MiB; ${features.join(' ')}`);
  const pool = await createPool();
  const rows: Row[] = [];
  const left: string[] = [];
  try {
    const submits = watchSubmits(gpu.device);
    const queue = createQueue(gpu.device);
    const mark = software ? `SOFTWARE ${adapter.slice(0, 24)}: ` : '';
    const add = (measured: Measured): void => {
      const made = row({ ...measured, name: `${mark}${measured.name}` });
      rows.push(made);
      // What is said now is not lost when the time is over.
      say(`${((performance.now() - began) / 1000).toFixed(0)} s: ${JSON.stringify(made)}`);
    };
    const { variant } = await benchmarkProducts(queue, context, add);
    const threads = software ? 256 : 2 ** 15;
    const world: World = { context, gpu, queue, pool, variant, threads, add };
    const done = new Set<string>();
    for (const [what, asked] of PLAN) {
      const bits = Math.min(asked, maxBits);
      const label = `${LABELS[what]} 2^${bits}`;
      if (done.has(label) || !context.wants(label)) continue;
      done.add(label);
      signal.throwIfAborted();
      if (performance.now() - began > minutes * 60_000) {
        left.push(label);
        continue;
      }
      try {
        await PARTS[what](world, bits);
      } catch (error) {
        if (signal.aborted || !(error instanceof VouchError)) throw error;
        say(`${label}: ${error.code}: ${error.message}`);
        left.push(label);
      }
    }
    const most = quantile(submits, 0.99);
    add({ name: 'submits, 99 of 100 within', unit: 'ms', ours: most, must: LONGEST_SUBMIT_MS });
    const longest = quantile(submits, 1);
    add({ name: 'submits, the longest (a kernel may be compiled in it)', unit: 'ms', ours: longest });
  } finally {
    await pool.close();
    gpu.close();
  }
  if (left.length > 0) say(`left out (no time, or no room): ${left.join(', ')}`);
  return rows;
}

/** Above it a page stops moving, and a watchdog is not far. */
const LONGEST_SUBMIT_MS = 200;

/** How long the device works on each submit, from now on; a little more where this thread is late to see its end. */
function watchSubmits({ queue }: GPUDevice): number[] {
  const submit = queue.submit.bind(queue);
  const times: number[] = [];
  let freed = 0;
  queue.submit = (buffers) => {
    const began = performance.now();
    submit(buffers);
    const done = () => {
      const now = performance.now();
      times.push(now - Math.max(began, freed));
      freed = now;
    };
    // A lost device is for whoever waits for results to notice.
    queue.onSubmittedWorkDone().then(done, () => {});
  };
  return times;
}

/** What `--rows` is matched with before a part begins. */
const LABELS: Record<(typeof PLAN)[number][0], string> = {
  G1: 'G1 sum of',
  G2: 'G2 sum of',
  transforms: 'transform of',
  proof: 'proof of',
  workers: 'processes on one GPU, G1 sums of',
};
const PARTS: Record<(typeof PLAN)[number][0], (world: World, bits: number) => Promise<void>> = {
  G1: (world, bits) => benchmarkSum(world, 'G1', bits),
  G2: (world, bits) => benchmarkSum(world, 'G2', bits),
  transforms: benchmarkTransforms,
  proof: benchmarkProof,
  workers: benchmarkWorkers,
};

/** What a Vulkan loader would find, in sentences; what is missing on machines that are meant for computing only. */
function vulkanDrivers(): string[] {
  const { env } = process;
  const named = [env.VK_DRIVER_FILES, env.VK_ICD_FILENAMES]
    .filter(Boolean)
    .join(':')
    .split(':')
    .filter(Boolean);
  const folders = ['/usr/share/vulkan/icd.d', '/etc/vulkan/icd.d', '/usr/local/share/vulkan/icd.d'];
  const found = folders.flatMap((folder) =>
    existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : [],
  );
  const icds = named.length > 0 ? named : found;
  const lines = [`Vulkan drivers: ${icds.join(', ') || 'none'}`];
  const nvidia = existsSync('/proc/driver/nvidia/version')
    ? readFileSync('/proc/driver/nvidia/version', 'utf8').split('\n')[0]
    : undefined;
  if (nvidia) lines.push(nvidia);
  if (nvidia && !icds.some((path) => /nvidia/i.test(path))) {
    lines.push(
      "this NVIDIA driver brings no Vulkan ICD (nvidia_icd.json, libGLX_nvidia.so.0): containers need NVIDIA_DRIVER_CAPABILITIES=all or 'graphics'",
    );
  }
  return lines;
}

const PRODUCT_THREADS = 2 ** 18;
const WORKGROUP = 64;

/** `rounds` dependent products per thread; or, to compare with, as many multiply-adds of 32 bits. */
const emitProducts = (variant: FieldVariant | undefined): string => `
${variant ? emitField({ modulus: FIELDS.Fq, variant }) : ''}
struct Params { first: u32, rounds: u32, count: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> values: array<vec4u>;
${variant ? emitAccess('values', 'read_write') : ''}
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) thread: u32) {
  let i = (params.first + id.x) * ${WORKGROUP}u + thread;
  if (i >= params.count) { return; }
  ${
    variant
      ? `let b = fe_load_values(i);
  var a = b;
  for (var round = 0u; round < params.rounds; round++) { a = fe_mul(a, b); }
  fe_store_values(i, a);`
      : `let b = values[2u * i];
  var a = b;
  var c = values[2u * i + 1u];
  for (var round = 0u; round < params.rounds; round++) { a = a * b + c; c = c * b + a; }
  values[2u * i] = a + c;`
  }
}`;

/** Products per second of every variant, and what one costs in multiply-adds. Answers the fastest. */
async function benchmarkProducts(
  queue: Queue,
  { say }: BenchContext,
  add: World['add'],
): Promise<{ variant: FieldVariant }> {
  const checked = 512;
  const values = concat(
    ...Array.from({ length: checked }, (_, i) => elementBytes(i < 3 ? BigInt(i) : randomScalar())),
  );
  const inverse = power(2n ** 256n % FIELDS.Fq, FIELDS.Fq - 2n, FIELDS.Fq);
  /** operations per second: rounds double until they take long enough */
  const rate = async (variant: FieldVariant | undefined, perRound: number): Promise<number> => {
    const pipeline = await queue.pipeline('products', emitProducts(variant));
    const buffer = await queue.buffer('products', PRODUCT_THREADS * 32);
    const run = async (rounds: number, count: number) => {
      const workgroups = Math.ceil(count / WORKGROUP);
      const step = { stage: 'products', pipeline, buffers: [buffer], params: [rounds, count], workgroups };
      return (await timed(() => queue.run([{ ...step, work: rounds * WORKGROUP * (variant ? 1 : 0.02) }])))
        .ms;
    };
    try {
      await queue.write(buffer, 0, values);
      await run(1, checked);
      const squares = await queue.read(buffer, checked * 32);
      for (let i = 0; variant && i < checked; i++) {
        const a = readElement(values, i * 32);
        const expected = (((a * a) % FIELDS.Fq) * inverse) % FIELDS.Fq;
        if (readElement(squares, i * 32) !== expected) throw new Error(`${variant}: product ${i} is wrong`);
      }
      const count = PRODUCT_THREADS;
      for (let rounds = 1; ; rounds *= 4) {
        const ms = await run(rounds, count);
        if (ms < 60 && rounds <= 2 ** 16) continue;
        const best = Math.min(ms, await run(rounds, count), await run(rounds, count));
        return (count * rounds * perRound * 1000) / best;
      }
    } finally {
      buffer.destroy();
    }
  };
  const multiplyAdds = await rate(undefined, 8);
  add({ name: '32-bit multiply-adds', unit: 'G/s', better: 'more', ours: multiplyAdds / 1e9 });
  let best: { variant: FieldVariant; products: number } | undefined;
  for (const variant of FIELD_VARIANTS) {
    const products = await rate(variant, 1);
    add({ name: `field products by ${variant}`, unit: 'G/s', better: 'more', ours: products / 1e9 });
    const cost = multiplyAdds / products;
    const folded =
      cost < FOLDED_BELOW ? 'the driver folds the ladder into wide multiplications' : 'it does not fold it';
    say(
      `a product by ${variant} takes as long as ${cost.toFixed(0)} multiply-adds${variant === 'words' ? `: ${folded}` : ''}`,
    );
    if (!best || products > best.products) best = { variant, products };
  }
  return best!;
}

/** Distinct points with known logarithms, which repeat in longer bases. */
async function knownPoints({ pool }: World, group: Group, count: number) {
  const logs = uniformScalars(Math.min(count, 2 ** DISTINCT_BITS));
  const points = await pool.multiples(group, logs);
  const expected = (scalars: Uint8Array): Uint8Array => {
    const distinct = logs.byteLength / 32;
    const sums = new Array<bigint>(distinct).fill(0n);
    for (let i = 0; i < scalars.byteLength / 32; i++) sums[i % distinct]! += readElement(scalars, i * 32);
    const log = sums.reduce((sum, each, i) => (sum + each * readElement(logs, i * 32)) % R, 0n);
    return group === 'G1' ? writeG1(multiplyG1(G1.BASE, log)) : writeG2(multiplyG2(G2.BASE, log));
  };
  return { bases: repeated(points, count * POINT_BYTES[group]), expected };
}

async function benchmarkSum(world: World, group: Group, bits: number): Promise<void> {
  const { queue, variant, threads, gpu, add, context } = world;
  const count = 2 ** bits;
  const { bases, expected } = await knownPoints(world, group, count);
  const scalars = uniformScalars(count);
  const msm = createGpuMsm(queue, { variant, threads });
  const buffer = await queue.buffer('scalars', scalars.byteLength);
  try {
    const held = await msm.hold([{ group, points: bytesSource(bases) }]);
    try {
      await queue.write(buffer, 0, scalars);
      const [sum] = await held.sums(buffer);
      if (!equal(sum!, expected(scalars))) throw new Error(`${group} sum of 2^${bits}: the result is wrong`);
      const samples: number[] = [];
      for (let run = 0; run < RUNS; run++) samples.push((await timed(() => held.sums(buffer, context))).ms);
      const demand = group === 'G1' && bits === 20 && !gpu.capability.software ? { must: 60, aim: 20 } : {};
      const name = `${group} sum of 2^${bits}, points resident`;
      add({ name, unit: 'ms', ours: median(samples), ...demand });
      const times = new Map<string, number>();
      await held.sums(buffer, { times });
      for (const [stage, ms] of times) add({ name: `${name}: ${stage}`, unit: 'ms', ours: ms });
    } finally {
      held.release();
    }
  } finally {
    buffer.destroy();
    msm.close();
  }
}

/** The polynomial x^3 on the domain, times a constant: its values on the coset are known at every place. */
async function benchmarkTransforms({ queue, variant, add }: World, bits: number): Promise<void> {
  const count = 2 ** bits;
  const transforms = await createTransforms(queue, bits, variant);
  const buffer = await queue.buffer('values', count * 32);
  try {
    const values = new Uint8Array(count * 32);
    const step = power(rootOfUnity(bits), 3n);
    for (let i = 0, value = 1n; i < count; i++, value = (value * step) % R)
      writeElement(value, values, i * 32);
    await queue.write(buffer, 0, values);
    await queue.run(transforms.shift(buffer));
    const shifted = await queue.read(buffer, values.byteLength);
    const root = rootOfUnity(bits + 1);
    for (let i = 0; i < count; i += Math.max(1, count >> 8)) {
      const expected = (power(root, BigInt(3 * (2 * i + 1))) * BigInt(count)) % R;
      if (readElement(shifted, i * 32) !== expected)
        throw new Error(`transforms of 2^${bits}: element ${i} is wrong`);
    }
    const samples: number[] = [];
    for (let run = 0; run < RUNS; run++)
      samples.push((await timed(() => queue.run(transforms.shift(buffer)))).ms);
    add({ name: `transform of 2^${bits} and back on the coset`, unit: 'ms', ours: median(samples) });
  } finally {
    buffer.destroy();
    transforms.destroy();
  }
}

/** A chain of squarings with points that were never set up: sums and proofs are as real, only do not verify. */
async function chainKey(world: World, bits: number): Promise<{ zkey: Uint8Array; witness: Uint8Array }> {
  const variables = 2 ** bits;
  const shape = { variables, publics: 1, domainSize: 2 ** bits };
  const counts = sectionCounts(shape);
  const points = {
    G1: await knownPoints(world, 'G1', variables),
    G2: await knownPoints(world, 'G2', variables),
  };
  const witness = new Uint8Array(variables * 32);
  const entries = new Uint8Array((variables - 2) * 2 * ENTRY_BYTES);
  const view = new DataView(entries.buffer);
  writeElement(1n, witness);
  for (let wire = 1, value = 3n; wire < variables; wire++, value = (value * value) % R)
    writeElement(value, witness, wire * 32);
  const one = elementBytes((MONTGOMERY_R * MONTGOMERY_R) % R);
  for (let row = 0, at = 0; row < variables - 2; row++) {
    for (const matrix of [0, 1]) {
      view.setUint32(at, matrix, true);
      view.setUint32(at + 4, row, true);
      view.setUint32(at + 8, row + 1, true);
      entries.set(one, at + 12);
      at += ENTRY_BYTES;
    }
  }
  const point = (group: Group, index: number) =>
    points[group].bases.slice(index * POINT_BYTES[group], (index + 1) * POINT_BYTES[group]);
  const zkey = writeZkey({
    ...shape,
    header: {
      alpha1: point('G1', 0),
      beta1: point('G1', 1),
      beta2: point('G2', 1),
      gamma2: point('G2', 2),
      delta1: point('G1', 3),
      delta2: point('G2', 3),
    },
    ic: points.G1.bases.slice(0, 2 * POINT_BYTES.G1),
    entries,
    points: Object.fromEntries(
      SECTIONS.map((name) => {
        const group = SECTION_GROUP[name];
        return [name, points[group].bases.subarray(0, counts[name] * POINT_BYTES[group])];
      }),
    ) as Record<(typeof SECTIONS)[number], Uint8Array>,
    contributions: { circuitHash: new Uint8Array(64), list: [] },
  });
  return { zkey, witness };
}

async function benchmarkProof(world: World, bits: number): Promise<void> {
  const { pool, gpu, variant, threads, add, context } = world;
  const { zkey: file, witness } = await chainKey(world, bits);
  const zkey = readZkey(file);
  const [r, s] = [randomScalar(), randomScalar()];
  const name = `proof of 2^${bits} constraints`;
  const engine = await createWebGpuEngine({
    curve: pool,
    open: async () => ({ device: gpu.device, close: () => {} }),
    tune: async () => ({ variant, threads }),
    cacheBytes: 64 * 2 ** 30,
  });
  const folder = mkdtempSync(join(tmpdir(), 'vouch-gpu-'));
  try {
    const cold = await timed(async () => {
      const key = await engine.ready(zkey, context);
      return { key, sums: await key.sums(witness, context) };
    });
    const { key, sums } = cold.value;
    const onThreads = await pool.ready(zkey, context);
    const own = await timed(() => onThreads.sums(witness, context));
    for (const section of SECTIONS) {
      if (!equal(own.value[section], sums[section]))
        throw new Error(`${name}: the sum of ${section} is wrong`);
    }
    const warm: number[] = [];
    const made = [];
    for (let run = 0; run < RUNS; run++) {
      const proof = await timed(async () => assemble(zkey, await key.sums(witness, context), r, s, pool));
      warm.push(proof.ms);
      made.push(proof.value);
    }
    const threadsToo = await timed(async () =>
      assemble(zkey, await onThreads.sums(witness, context), r, s, pool),
    );
    onThreads.release();
    key.release();
    const peer = { name: `wasm x${pool.threads}`, value: threadsToo.ms };
    add({ name: `${name}, key resident, beside our threads`, unit: 'ms', ours: median(warm), peer });
    add({ name: `${name}, key cold (uploaded, kernels compiled)`, unit: 'ms', ours: cold.ms });

    const [zkeyFile, wtnsFile] = [join(folder, 'key.zkey'), join(folder, 'witness.wtns')];
    writeFileSync(zkeyFile, file);
    writeFileSync(wtnsFile, writeWitness(witness));
    const oracle = await openOracle();
    try {
      oracle.fixRandom(r, s);
      const theirs = await timed(() => oracle.snarkjs.groth16.prove(zkeyFile, wtnsFile));
      if (made.some((proof) => JSON.stringify(proof) !== JSON.stringify(theirs.value.proof)))
        throw new Error(`${name}: it is not snarkjs's`);
      const demand = bits === 20 && !gpu.capability.software ? { must: 26, aim: 50 } : {};
      add({
        name: `${name}, key resident`,
        unit: 'ms',
        ours: median(warm),
        peer: { name: 'snarkjs', value: theirs.ms },
        ...demand,
      });
    } finally {
      await oracle.close();
    }
  } finally {
    await engine.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** One, two and four processes that share the GPU, each with its points resident: sums per second of all together. */
async function benchmarkWorkers({ add, variant, threads, context }: World, bits: number): Promise<void> {
  for (const count of [1, 2, 4]) {
    const children = Array.from({ length: count }, () =>
      fork(new URL('./gpu-worker.ts', import.meta.url), [String(bits), variant, String(threads)], {
        stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      }),
    );
    /** The next message of each, a number; a process that ends instead is a failure. */
    const heard = () =>
      Promise.all(
        children.map(
          (child) =>
            new Promise<number>((resolve, reject) => {
              child.once('message', (message) => resolve(Number(message)));
              child.once('exit', (code) => reject(new Error(`a worker process ended with code ${code}`)));
            }),
        ),
      );
    const abort = () => {
      for (const child of children) child.kill();
    };
    context.signal.addEventListener('abort', abort, { once: true });
    try {
      await heard();
      const results = heard();
      for (const child of children) child.send(WORKER_SECONDS);
      const points = (await results).reduce((sum, rate) => sum + rate, 0);
      const name = `${count} ${count === 1 ? 'process' : 'processes'} on one GPU, G1 sums of 2^${bits}`;
      add({ name, unit: 'M points/s', better: 'more', ours: points / 1e6 });
    } finally {
      context.signal.removeEventListener('abort', abort);
      abort();
    }
  }
}

/** Whole proofs on the GPU against those of the CPU's threads, and what happens to a device that is lost or full. */
import { SECTIONS } from '../../../../circuits/groth16/engine.ts';
import { prove, witnessScalars } from '../../../../circuits/groth16/prove.ts';
import { setup } from '../../../../circuits/groth16/setup.ts';
import { readZkey, type Zkey } from '../../../../circuits/groth16/zkey.ts';
import { messageOf, VouchError } from '../../../../protocols/errors.ts';
import { type GpuHandle, openGpu } from '../../../../runtime/gpu/adapter.ts';
import { createPool, type Pool } from '../../../../runtime/msm/threads/pool.ts';
import { createWebGpuEngine, type WebGpuEngine } from '../../../../runtime/msm/webgpu/engine.ts';
import { createTurns, type SharedTurns } from '../../../../runtime/msm/webgpu/turns.ts';
import { openHostEngine } from '../../../../runtime/prove/host-engine.ts';
import { type CircuitShape, randomCircuit } from '../../../circuits/groth16-circuit.ts';
import { assert, suite, type TestContext } from '../../../harness.ts';

const test = suite('WebGPU engine', { timeoutMs: 300_000 });
const fixed = { r: 2n ** 253n + 11n, s: 2n ** 252n + 7n };
const failure = (promise: Promise<unknown>): Promise<VouchError> =>
  promise.then(
    () => assert.unreachable('expected a failure'),
    (error) => error,
  );

interface World {
  readonly engine: WebGpuEngine;
  readonly pool: Pool;
  /** devices that were opened, the newest last */
  readonly opened: GpuHandle[];
  key(shape: CircuitShape): Promise<{ zkey: Zkey; witness: Uint8Array }>;
}

async function open(
  t: TestContext,
  { sharedBytes, ...options }: { cacheBytes?: number; sharedBytes?: number; turns?: SharedTurns } = {},
): Promise<World> {
  const opened: GpuHandle[] = [];
  const pool = await createPool({ threads: 1 });
  t.defer(() => pool.close());
  const engine = await createWebGpuEngine({
    curve: pool,
    tune: async () => ({ variant: 'words', threads: 256 }),
    ...options,
    open: async () => {
      const gpu = await openGpu({ allowSoftware: true });
      opened.push(gpu);
      return { ...gpu, sharedBytes };
    },
  }).catch((error: Error) => t.skip(error.message));
  t.defer(() => engine.close());
  const key: World['key'] = async (shape) => {
    const { r1cs, witness } = randomCircuit(shape);
    return { zkey: readZkey((await setup(r1cs, { field: pool, points: pool })).zkey), witness };
  };
  return { engine, pool, opened, key };
}

test('proofs are those of the threads, byte for byte', async (t) => {
  const { engine, pool, key } = await open(t);
  for (const shape of [
    { constraints: 1, outputs: 1, publicInputs: 0, privateInputs: 1 },
    { constraints: 2, outputs: 0, publicInputs: 0, privateInputs: 1 },
    { constraints: 100, outputs: 3, publicInputs: 2 },
    { constraints: 700, seed: 5 },
  ]) {
    const { zkey, witness } = await key(shape);
    const expected = await prove(zkey, witness, pool, fixed);
    const phases: string[] = [];
    const proof = await prove(zkey, witness, engine, { ...fixed, onPhase: (phase) => phases.push(phase) });
    assert.equal(proof, expected, `${shape.constraints} constraints`);
    assert.equal(phases, ['transforming', 'dispatching', 'assembling', 'verifying']);
  }
});

test('quotients, single sums and some of the sums', async (t) => {
  const { engine, pool, key } = await open(t);
  const { zkey, witness } = await key({ constraints: 60, outputs: 2 });
  const [onGpu, onThreads] = [await engine.ready(zkey), await pool.ready(zkey)];
  const h = await onGpu.quotient(witness);
  assert.equal(h, await onThreads.quotient(witness));
  const expected = await onThreads.sums(witness);
  const scalars = { ...witnessScalars(zkey, witness), H: h };
  for (const section of SECTIONS) {
    assert.equal(await onGpu.msm(section, scalars[section]), expected[section], section);
  }
  assert.equal(await onGpu.partialSums(witness, { sections: new Set(['B2', 'A']) }), {
    A: expected.A,
    B2: expected.B2,
  });
  assert.equal(await onGpu.partialSums(witness, { sections: new Set(['H']) }), { H: expected.H });
  assert.equal(await Promise.all([onGpu.sums(witness), onGpu.sums(witness)]), [expected, expected]);
  assert.instance(await failure(onGpu.sums(witness.subarray(32))), RangeError);
  assert.equal(await engine.msm('G1', zkey.points.A, scalars.A), expected.A);
  assert.equal(await engine.msm('G2', zkey.points.B2, scalars.B2), expected.B2);
  assert.is((await engine.msm('G2', new Uint8Array(), new Uint8Array())).byteLength, 128);
  assert.instance(await failure(engine.msm('G1', new Uint8Array(64), new Uint8Array(64))), RangeError);
});

test('beside inferences without an end a proof is the same, in its share of the time; a key leaves for their memory', async (t) => {
  const turns = createTurns({ share: 0.5 });
  const { engine, pool, key } = await open(t, { cacheBytes: 2 ** 20, sharedBytes: 300_000, turns });
  const { zkey, witness } = await key({ constraints: 300 });
  const ready = await engine.ready(zkey);
  const alone = engine.memory()!;
  assert.is(alone.budget, 2 ** 20);
  assert.ok(alone.bytes > 0);
  const expected = await (await pool.ready(zkey)).sums(witness);
  turns.split();
  turns.hear({ present: true, busy: true });
  assert.is(engine.memory()!.budget, 300_000);
  assert.equal(await ready.sums(witness), expected);
  const { proofs, inferences } = turns.split();
  assert.ok(proofs > 0.02 && proofs < 0.7, String(proofs));
  assert.ok(inferences > 0.9, String(inferences));
  assert.ok(turns.waitedMs > 0);
  ready.release();
  turns.hear({ present: false, busy: false });
  await engine.ready((await key({ constraints: 700, seed: 2 })).zkey).then((large) => large.release());
  assert.ok(engine.memory()!.bytes > 300_000);
  turns.hear({ present: true, busy: false });
  assert.ok(engine.memory()!.bytes <= 300_000);
});

test('a key stays on the device, and leaves it for another when there is no room', async (t) => {
  const { engine, pool, key, opened } = await open(t, { cacheBytes: 600_000 });
  const keys = [await key({ constraints: 500, seed: 1 }), await key({ constraints: 500, seed: 2 })] as const;
  const { queue } = opened[0]!.device;
  let written = 0;
  const write = queue.writeBuffer.bind(queue);
  queue.writeBuffer = ((...args: Parameters<GPUQueue['writeBuffer']>) => {
    written += (args[2] as Uint8Array).byteLength;
    return write(...args);
  }) as GPUQueue['writeBuffer'];
  /** bytes that a proof uploads */
  const uploads = async ({ zkey, witness }: { zkey: Zkey; witness: Uint8Array }) => {
    const before = written;
    const { proof } = await prove(zkey, witness, engine, fixed);
    assert.equal(proof, (await prove(zkey, witness, pool, fixed)).proof);
    return written - before;
  };
  const cold = await uploads(keys[0]);
  const warm = await uploads(keys[0]);
  assert.is(warm, keys[0].witness.byteLength, 'only the witness');
  assert.ok(cold > 4 * warm);
  // Another object of the same key is known by its digest.
  const copy = { ...keys[0], zkey: { ...keys[0].zkey } };
  assert.is(await uploads(copy), warm);
  assert.ok((await uploads(keys[1])) > 4 * warm);
  // So is one whose points were never needed, when its file is closed.
  const [transformed, open_] = [await key({ constraints: 500, seed: 3 }), { is: true }];
  const file = {
    ...transformed.zkey,
    read: async (...args: Parameters<Zkey['read']>) => {
      assert.ok(open_.is, 'a closed file is read');
      return transformed.zkey.read(...args);
    },
  };
  const coordinators = await engine.ready(file);
  await coordinators.quotient(transformed.witness);
  coordinators.release();
  open_.is = false;
  await uploads(transformed);
  assert.ok((await uploads(keys[0])) > 4 * warm, 'it had to leave');

  const pinned = await engine.ready(keys[0].zkey);
  assert.is((await failure(engine.ready(keys[1].zkey))).code, 'busy');
  pinned.release();
  (await engine.ready(keys[1].zkey)).release();
  const huge = await key({ constraints: 1500 });
  assert.is((await failure(engine.ready(huge.zkey))).code, 'too-large');
});

test('tables of multiples: the same sums, kept on the device, made again on the next', async (t) => {
  const { engine, pool, key, opened } = await open(t);
  const { zkey, witness } = await key({ constraints: 250 });
  const expected = await (await pool.ready(zkey)).sums(witness);
  const held = await engine.ready(zkey);
  const points = SECTIONS.reduce((sum, section) => sum + zkey.range(section).length, 0);
  assert.is((await held.tabulate({ bytes: points })).levels, 1, 'no room for any');
  assert.equal(await held.sums(witness), expected);
  const { levels, bytes } = await held.tabulate({ bytes: 4 * points });
  assert.ok(levels > 1 && bytes > points && bytes <= 4 * points, `${levels} of ${bytes} bytes`);
  assert.equal(await held.sums(witness), expected);
  opened.at(-1)!.device.destroy();
  assert.equal(await held.sums(witness), expected, 'on another device');
  assert.equal((await held.tabulate({ bytes: 4 * points })).levels, levels);
  assert.is((await failure(held.tabulate({ bytes: 2 ** 40 }))).code, 'too-large');
  held.release();
  assert.is((await failure(held.tabulate({ bytes: 4 * points }))).code, 'not-ready');
});

/** Runs `act` the first time that only sums are left. */
const once = (act: () => void) => {
  let done = false;
  return (phase: string) => {
    if (phase !== 'dispatching' || done) return;
    done = true;
    act();
  };
};

test('a lost device is opened again, filled again, and the call made once more', async (t) => {
  const { engine, pool, key, opened } = await open(t);
  const { zkey, witness } = await key({ constraints: 300 });
  const held = await engine.ready(zkey);
  const expected = await (await pool.ready(zkey)).sums(witness);
  const lose = () => opened.at(-1)!.device.destroy();
  lose();
  assert.equal(await held.sums(witness), expected, 'lost while idle');
  assert.is(opened.length, 2);
  assert.equal(await held.sums(witness, { onPhase: once(lose) }), expected, 'lost while computing');
  assert.is(opened.length, 3);
  const twice = await failure(held.sums(witness, { onPhase: (phase) => phase === 'dispatching' && lose() }));
  assert.is(twice.code, 'device-lost', messageOf(twice));
  assert.equal(await held.sums(witness), expected);
  held.release();
});

test('a device that is full is given up once, and the second time the caller is told', async (t) => {
  const { engine, pool, key, opened } = await open(t);
  const { zkey, witness } = await key({ constraints: 30 });
  const full = ({ device }: GpuHandle) => {
    device.popErrorScope = async () => ({ message: 'as if full' }) as GPUOutOfMemoryError;
  };
  full(opened[0]!);
  const held = await engine.ready(zkey);
  assert.is(opened.length, 2);
  assert.equal(await held.sums(witness), await (await pool.ready(zkey)).sums(witness));
  const push = opened.push.bind(opened);
  opened.push = (gpu: GpuHandle) => {
    full(gpu);
    return push(gpu);
  };
  full(opened[1]!);
  assert.is((await failure(held.sums(witness))).code, 'out-of-memory');
});

test('cancelling and closing end what is under way, releasing does not', async (t) => {
  const { engine, pool, key } = await open(t);
  const { zkey, witness } = await key({ constraints: 300 });
  const abort = new AbortController();
  const held = await engine.ready(zkey);
  const options = { signal: abort.signal, onPhase: once(() => abort.abort()) };
  assert.is((await failure(held.sums(witness, options))).code, 'cancelled');
  const aborted = { signal: AbortSignal.abort() };
  assert.is((await failure(held.sums(witness, aborted))).code, 'cancelled');
  assert.is(
    (
      await failure(
        engine.ready({ ...zkey, publics: zkey.publics }, aborted).then((k) => k.sums(witness, aborted)),
      )
    ).code,
    'cancelled',
  );
  // What was aborted left nothing behind.
  assert.equal(await held.sums(witness), await (await pool.ready(zkey)).sums(witness));
  // What is under way when the key is released ends well.
  const expected = await (await pool.ready(zkey)).sums(witness);
  assert.equal(await held.sums(witness, { onPhase: once(() => held.release()) }), expected);
  assert.is((await failure(held.sums(witness))).code, 'not-ready');

  const other = await engine.ready(zkey);
  const closing = failure(other.sums(witness, { onPhase: once(() => void engine.close()) }));
  assert.match((await closing).code, /^(device-lost|not-ready)$/);
  assert.is((await failure(other.sums(witness))).code, 'not-ready');
});

test('the host’s engine by name: the GPU, threads, or a proof split between them', async (t) => {
  const { pool, key } = await open(t);
  const { zkey, witness } = await key({ constraints: 200 });
  const expected = await prove(zkey, witness, pool, fixed);
  t.defer(() => {
    process.env.VOUCH_SOFTWARE_GPU = '1';
  });
  for (const [engine, label] of [
    ['webgpu', /^webgpu$/],
    ['wasm', /^wasm x1$/],
    ['auto', /^webgpu \+ wasm x1$/],
  ] as const) {
    const lines: string[] = [];
    await using host = await openHostEngine({ engine, threads: 1, log: (line) => lines.push(line) });
    assert.match(host.label, label);
    assert.equal(await prove(zkey, witness, host, fixed), expected, engine);
    assert.equal(await host.msm('G1', zkey.points.A, witness), await pool.msm('G1', zkey.points.A, witness));
    if (engine === 'auto') assert.match(lines.join('\n'), /sums by threads: .*; by the GPU: .*H/);
  }
  delete process.env.VOUCH_SOFTWARE_GPU;
  await using auto = await openHostEngine({ threads: 1 });
  // A real GPU may be there.
  assert.match(auto.label, /wasm x1$/);
  const gpu = await openHostEngine({ engine: 'webgpu' }).catch((error) => error);
  if (gpu instanceof VouchError) assert.match(gpu.message, /no GPU/);
  else await gpu.close();
});

test('auto: when the GPU fails for good in the middle of a proof, the threads make it', async (t) => {
  const { pool, key } = await open(t);
  const { zkey, witness } = await key({ constraints: 200 });
  const expected = await prove(zkey, witness, pool, fixed);
  const lines: string[] = [];
  let opened = 0;
  let lose = () => {};
  await using host = await openHostEngine({
    threads: 1,
    log: (line) => lines.push(line),
    open: async (options) => {
      if (opened++ > 0) throw new VouchError('not-ready', 'no GPU: it does not come back');
      const gpu = await openGpu(options);
      lose = () => gpu.device.destroy();
      return gpu;
    },
  });
  const onPhase = (phase: string) => phase === 'dispatching' && lose();
  assert.equal(await prove(zkey, witness, host, { ...fixed, onPhase }), expected);
  assert.match(lines.join('\n'), /the GPU failed, threads take over: no GPU: it does not come back/);
  assert.equal(await prove(zkey, witness, host, fixed), expected);
  assert.match(lines.at(-1)!, /threads take over: no GPU/);
  // Nor does a GPU without room end a proof.
  const small = {
    engine: 'auto',
    threads: 1,
    gpuBytes: 2 ** 10,
    log: (line: string) => lines.push(line),
  } as const;
  await using crowded = await openHostEngine(small);
  assert.equal(await prove(zkey, witness, crowded, fixed), expected);
  assert.match(lines.at(-1)!, /do not fit the GPU/);
  const many = new Uint8Array(32 * 1024).fill(7);
  const bases = await pool.multiples('G1', many);
  assert.equal(await crowded.msm('G1', bases, many), await pool.msm('G1', bases, many));
});

test.run();

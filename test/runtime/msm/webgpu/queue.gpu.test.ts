import { messageOf, type VouchError } from '../../../../protocols/errors.ts';
import { openGpu } from '../../../../runtime/gpu/adapter.ts';
import { createQueue, type Dispatch, type Queue } from '../../../../runtime/msm/webgpu/queue.ts';
import { createTurns, type Turns } from '../../../../runtime/msm/webgpu/turns.ts';
import { assert, suite, type TestContext } from '../../../harness.ts';

const test = suite('WebGPU queue', { timeoutMs: 60_000 });

async function open(t: TestContext, turns?: Turns): Promise<Queue> {
  const gpu = await openGpu({ allowSoftware: true }).catch((error: Error) => t.skip(error.message));
  t.defer(() => gpu.close());
  return createQueue(gpu.device, turns);
}
async function until(t: TestContext, reached: () => boolean): Promise<void> {
  while (!reached()) {
    t.signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** Every workgroup writes its number, after as many rounds of a slow loop as it is told. */
const COUNTING = `
struct Params { first: u32, rounds: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> seen: array<u32>;
@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) id: vec3u) {
  let group = params.first + id.x;
  var value = group;
  for (var i = 0u; i < params.rounds; i++) { value = value * 1664525u + 1013904223u; }
  // never true, but no compiler knows
  seen[group] = select(group, value, value == 0x12345678u) + 1u;
}`;

async function counting(queue: Queue, workgroups: number, work: number, rounds = 0) {
  const seen = await queue.buffer('seen', workgroups * 4);
  const pipeline = await queue.pipeline('counting', COUNTING);
  const step: Dispatch = { stage: 'counting', pipeline, buffers: [seen], params: [rounds], workgroups, work };
  return { seen, step };
}
const failure = (promise: Promise<unknown>): Promise<VouchError> =>
  promise.then(
    () => assert.unreachable('expected a failure'),
    (error) => error,
  );

test('every workgroup runs once, however the work is cut', async (t) => {
  const queue = await open(t);
  // 70,000 is above the limit of one dispatch; 2^30 each makes every workgroup a submit of its own
  for (const [workgroups, work] of [
    [1, 1],
    [70_000, 1],
    [300, 2000],
    [40, 2 ** 30],
  ] as const) {
    const { seen, step } = await counting(queue, workgroups, work);
    await queue.run([step]);
    const numbers = new Uint32Array((await queue.read(seen, workgroups * 4)).buffer);
    assert.is(
      numbers.findIndex((number, i) => number !== i + 1),
      -1,
      `${workgroups} of ${work}`,
    );
    await queue.run([{ clear: seen }]);
    assert.ok((await queue.read(seen, workgroups * 4)).every((byte) => byte === 0));
  }
});

test('the work of one submit is adapted until it takes a fraction of a second', async (t) => {
  const queue = await open(t);
  const submit = queue.device.queue.submit.bind(queue.device.queue);
  let submits = 0;
  queue.device.queue.submit = (commands) => {
    submits++;
    return submit(commands);
  };
  // The work is said to be a fraction of what it is: without learning it would be six submits of half a second each.
  const { step } = await counting(queue, 60_000, 50, 20_000);
  const began = performance.now();
  await queue.run([step]);
  const ms = performance.now() - began;
  if (ms < 2_000) t.skip(`this adapter is too fast to tell: ${ms.toFixed(0)} ms in all`);
  assert.ok(submits >= 10, `${submits} submits in ${ms} ms`);
});

test('times are booked by stage where the device has timestamps', async (t) => {
  const queue = await open(t);
  const { step } = await counting(queue, 1000, 1, 100);
  const times = new Map<string, number>();
  await queue.run([step, { ...step, stage: 'other' }, step], { times });
  if (!queue.device.features.has('timestamp-query')) t.skip('the device was opened without timestamps');
  assert.equal([...times.keys()].sort(), ['counting', 'other']);
  assert.ok([...times.values()].every((ms) => ms >= 0));
});

test('cancelling ends between submits', async (t) => {
  const queue = await open(t);
  const { step } = await counting(queue, 2000, 2 ** 40, 200_000);
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 20);
  assert.is((await failure(queue.run([step], { signal: abort.signal }))).code, 'cancelled');
  assert.is((await failure(queue.run([step], { signal: AbortSignal.abort() }))).code, 'cancelled');
  await queue.run([{ ...step, workgroups: 1 }]);
});

test('an inference waits for one submit at most, and finds nothing more until it is over', async (t) => {
  const turns = createTurns({ share: 0 });
  const queue = await open(t, turns);
  const submit = queue.device.queue.submit.bind(queue.device.queue);
  let submits = 0;
  queue.device.queue.submit = (commands) => {
    submits++;
    return submit(commands);
  };
  // Every workgroup a submit of its own.
  const { seen, step } = await counting(queue, 60, 2 ** 40, 20_000);
  turns.hear({ present: true, busy: false });
  const [one, other] = [queue.run([step]), queue.run([step])];
  await until(t, () => submits >= 10);
  turns.hear({ present: true, busy: true });
  const before = submits;
  await queue.device.queue.onSubmittedWorkDone();
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.is(submits, before);
  // What was secret goes at once, and whoever cancels does not wait.
  await queue.run([{ clear: seen }]);
  const abort = new AbortController();
  const cancelled = failure(queue.run([step], { signal: abort.signal }));
  abort.abort();
  assert.is((await cancelled).code, 'cancelled');
  turns.hear({ present: true, busy: false });
  await Promise.all([one, other]);
  assert.is(submits, before + 1 + (120 - before));
  const late = queue.run([step]);
  turns.hear({ present: true, busy: true });
  queue.device.destroy();
  assert.is((await failure(late)).code, 'device-lost');
});

test('a call that WebGPU refuses, a buffer that is too large, a source that does not compile', async (t) => {
  const queue = await open(t);
  const { step } = await counting(queue, 1, 1);
  const refused = await failure(queue.run([{ ...step, buffers: [] }]));
  assert.is(refused.code, 'internal', messageOf(refused));
  assert.throws(() => queue.buffer('huge', queue.device.limits.maxBufferSize * 2), RangeError);
  assert.match(String(await failure(queue.pipeline('broken', 'fn main( {'))), /error|Invalid/i);
  const room = 'out-of-memory';
  const outOfMemory = { message: 'no room' } as GPUOutOfMemoryError;
  const pop = queue.device.popErrorScope.bind(queue.device);
  let pops = 0;
  queue.device.popErrorScope = async () => {
    const error = await pop();
    return pops++ === 0 ? outOfMemory : error;
  };
  assert.is((await failure(queue.buffer('refused', 64))).code, room);
});

test('a lost device rejects what is under way and what comes after', async (t) => {
  const queue = await open(t);
  const { seen, step } = await counting(queue, 500, 2 ** 30, 10_000);
  const running = failure(queue.run([step]));
  setTimeout(() => queue.device.destroy(), 10);
  for (const error of [
    await running,
    await failure(queue.run([step])),
    await failure(queue.read(seen, 4)),
    await failure(queue.buffer('late', 4)),
    await failure(queue.pipeline('late', `${COUNTING}\n`)),
  ]) {
    assert.is(error.code, 'device-lost', messageOf(error));
    assert.ok(error.retryable);
  }
});

test.run();

import { createResidency } from '../../../../runtime/msm/webgpu/residency.ts';
import { assert, suite } from '../../../harness.ts';

const test = suite('residency');

/** Makes things of a size, and remembers what was made and released. */
function world() {
  const log: string[] = [];
  const make = (name: string, bytes: number) => async () => {
    log.push(`+${name}`);
    return { bytes, release: () => void log.push(`-${name}`) };
  };
  return { log, make };
}

test('what is here is not made again, and the least recently used goes first', async () => {
  const { log, make } = world();
  const residency = createResidency(() => 100);
  const use = async (name: string, bytes = 40) =>
    (await residency.take(name, bytes, make(name, bytes))).unpin();
  await use('a');
  await use('b');
  await use('a');
  await use('c');
  assert.equal(log, ['+a', '+b', '-b', '+c']);
  assert.equal(residency.names(), ['a', 'c']);
  await use('d', 100);
  assert.equal(residency.names(), ['d']);
  residency.clear();
  assert.equal(log.slice(4), ['-a', '-c', '+d', '-d']);
});

test('what is pinned stays, and what has no room beside it is told so', async () => {
  const { log, make } = world();
  const residency = createResidency(() => 100);
  const a = await residency.take('a', 60, make('a', 60));
  const again = await residency.take('a', 60, make('a', 60));
  a.unpin();
  a.unpin();
  const refused = await residency.take('b', 60, make('b', 60)).catch((error) => error);
  assert.is(refused.code, 'busy');
  assert.is((await residency.take('c', 101, make('c', 101)).catch((error) => error)).code, 'too-large');
  again.unpin();
  (await residency.take('b', 60, make('b', 60))).unpin();
  assert.equal(log, ['+a', '-a', '+b']);
});

test('whoever asks meanwhile waits for the same, and a failure is not kept', async () => {
  const { log, make } = world();
  const residency = createResidency(() => 100);
  const pins = await Promise.all([1, 2, 3].map(() => residency.take('a', 10, make('a', 10))));
  assert.is(new Set(pins.map(({ held }) => held)).size, 1);
  const failing = () => Promise.reject(new Error('no'));
  const errors = await Promise.all(
    [1, 2].map(() => residency.take('b', 10, failing).catch((error) => error.message)),
  );
  assert.equal(errors, ['no', 'no']);
  (await residency.take('b', 90, make('b', 90))).unpin();
  assert.equal(log, ['+a', '+b']);
});

test('the size counts as promised while it is made, then as it is', async () => {
  const { make } = world();
  const residency = createResidency(() => 100);
  const a = await residency.take('a', 90, make('a', 30));
  const b = await residency.take('b', 70, make('b', 70));
  assert.equal(residency.names(), ['a', 'b']);
  a.unpin();
  b.unpin();
});

test('cleared while it is made, it is released and nobody gets it', async () => {
  const { log, make } = world();
  const residency = createResidency(() => 100);
  const taken = residency.take('a', 10, make('a', 10)).catch((error) => error.code);
  residency.clear();
  assert.is(await taken, 'device-lost');
  assert.equal(log, ['+a', '-a']);
});

test.run();

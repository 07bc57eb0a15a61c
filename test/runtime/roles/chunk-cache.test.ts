/** What a worker says that it holds: few words for the many chunks of a large key. */
import { createChunkCache } from '../../../runtime/roles/chunk-cache.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('chunk cache');
const digest = (n: number) => n.toString(16).padStart(16, '0').padEnd(64, 'f');
const name = (n: number) => digest(n).slice(0, 16);
const chunk = async () => new Uint8Array(8);
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => digest(from + i));

test('chunks that follow each other are named by the first, however many', async () => {
  const chunks = createChunkCache(2 ** 20, []);
  // As a key of 2^22 has them; a part is missing, and one stands alone.
  for (const each of [...range(0, 1077), digest(5000)])
    if (each !== digest(400)) await chunks.get(each, chunk);
  assert.is(chunks.resident().length, 1024, 'nobody has said which follow which');
  chunks.inOrder(range(0, 700));
  chunks.inOrder(range(699, 1077));
  assert.equal(chunks.resident(), [`${name(0)}+399`, `${name(401)}+675`, name(5000)]);
});

test('names in a circle, or of chunks that are not here, mislead nobody', async () => {
  const chunks = createChunkCache(2 ** 20, [digest(1), digest(2), digest(3)]);
  chunks.inOrder([digest(1), digest(2), digest(1)]);
  chunks.inOrder([digest(3), digest(9)]);
  chunks.inOrder([digest(3), digest(3)]);
  assert.equal(new Set(chunks.resident()), new Set([`${name(1)}+1`, name(3)]));
  await chunks.get(digest(2), () => Promise.reject(new Error('gone'))).catch(() => {});
  assert.equal(new Set(chunks.resident()), new Set([name(1), name(3)]));
});

test.run();

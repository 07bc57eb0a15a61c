/** A cache that others fill stays within its size, and loses the oldest first. */
import { mkdir, readdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { keepWithin } from '../../../runtime/home/bounded-folder.ts';
import { assert, suite } from '../../harness.ts';
import { temporaryFolder } from '../nats/nats-fixture.ts';

const test = suite('bounded folder');
const HOUR = 60 * 60_000;

test('the oldest goes first, folders as a whole, and nothing that is young', async (t) => {
  const folder = await temporaryFolder(t);
  const now = Date.now();
  const age = (name: string, hours: number) => {
    const at = new Date(now - hours * HOUR);
    return utimes(join(folder, name), at, at);
  };
  for (const name of ['b', 'c', 'young']) await writeFile(join(folder, name), new Uint8Array(100));
  await mkdir(join(folder, 'a', 'in'), { recursive: true });
  await writeFile(join(folder, 'a', 'in', 'x'), new Uint8Array(100));
  await age('a', 9);
  await age('b', 8);
  await age('c', 7);
  await age('young', 0.5);
  const left = async (maxBytes: number) => {
    await keepWithin(folder, maxBytes, now);
    return (await readdir(folder)).sort();
  };
  assert.equal(await left(400), ['a', 'b', 'c', 'young']);
  assert.equal(await left(399), ['b', 'c', 'young']);
  assert.equal(await left(200), ['c', 'young']);
  assert.equal(await left(0), ['young']);
  await keepWithin(join(folder, 'nowhere'), 0);
});

test.run();

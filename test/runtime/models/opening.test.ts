/** Chunks of large models, opened here and in threads: written where they belong, or refused by name. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hex, randomBytes } from '../../../protocols/encoding.ts';
import { VouchError } from '../../../protocols/errors.ts';
import { type ChunkPlace, chunkCipher, leafOf } from '../../../protocols/weights-chunks.ts';
import { type SealedChunk, startOpeners } from '../../../runtime/models/opening.ts';
import { assert, suite } from '../../harness.ts';
import { temporaryFolder } from '../nats/nats-fixture.ts';

const test = suite('opening chunks');

const BYTES = 10_000;
const COUNT = 20;

for (const [where, chunks] of [
  ['here', 1],
  ['in threads', 1000],
] as const)
  test(`${where}: many at a time, each in its place; what is not the committed one is refused, and written nowhere`, async (t) => {
    const folder = await temporaryFolder(t);
    const file = join(folder, 'weights');
    writeFileSync(file, '');
    const key = randomBytes(32);
    const place: ChunkPlace = { model: 'chat', commitment: '1', part: 'weights', chunks };
    const cipher = chunkCipher(key, place);
    await using openers = startOpeners(key, place);
    await using others = startOpeners(key, { ...place, model: 'other' });
    const plain = Array.from({ length: COUNT }, () => randomBytes(BYTES));
    const sealed = await Promise.all(
      plain.map(async (chunk, i) => new Uint8Array(await cipher.seal(i, chunk))),
    );
    const open = (index: number, more: Partial<SealedChunk> = {}, by = openers) =>
      by.open({
        index,
        leaf: leafOf(plain[index]!),
        bytes: BYTES,
        sealed: new Uint8Array(sealed[index]!),
        target: { file, offset: index * BYTES },
        ...more,
      });
    const kept = join(folder, 'kept');
    writeFileSync(kept, sealed[5]!);
    const untouched = { target: { file: join(folder, 'refused'), offset: 0 } };
    writeFileSync(untouched.target.file, '');
    const changed = sealed[3]!.with(5000, sealed[3]![5000]! ^ 1);
    const [opened, ends] = await Promise.all([
      Promise.all(sealed.map((_, i) => open(i, i === 5 ? { sealed: kept } : {}))),
      Promise.allSettled([
        open(3, { ...untouched, sealed: new Uint8Array(changed) }),
        open(3, { ...untouched, sealed: new Uint8Array(sealed[4]!) }),
        open(3, { ...untouched, sealed: kept }),
        open(3, untouched, others),
        open(3, { ...untouched, leaf: leafOf(plain[4]!) }),
        open(3, { ...untouched, sealed: join(folder, 'none') }),
        open(3, { ...untouched, sealed: kept, bytes: BYTES - 1 }),
        open(3, { target: { file: join(folder, 'none'), offset: 0 } }),
      ]),
    ]);
    const codes = ends.map((end) => {
      assert.ok(end.status === 'rejected' && end.reason instanceof VouchError);
      const { code, message } = (end as PromiseRejectedResult).reason as VouchError;
      if (code === 'seal-rejected' || code === 'commitment-mismatch')
        assert.match(message, /chunk 3 of part weights/);
      return code;
    });
    assert.equal(codes, [
      'seal-rejected',
      'seal-rejected',
      'seal-rejected',
      'seal-rejected',
      'commitment-mismatch',
      'bad-file',
      'bad-file',
      'out-of-memory',
    ]);
    assert.is(Buffer.compare(readFileSync(file), Buffer.concat(plain)), 0);
    assert.is(readFileSync(untouched.target.file).length, 0);
    assert.equal(hex(opened[0]!), hex(sealed[0]!), 'the ciphertext comes back');
    assert.ok(
      key.some((byte) => byte !== 0),
      "the caller's key is his",
    );
  });

test.run();

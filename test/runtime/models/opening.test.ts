/** Chunks of large models, opened here and in threads: the same chunk, the same refusals. */
import { hex, randomBytes } from '../../../protocols/encoding.ts';
import { VouchError } from '../../../protocols/errors.ts';
import { type ChunkPlace, chunkCipher, leafOf } from '../../../protocols/weights.ts';
import { startOpeners } from '../../../runtime/models/opening.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('opening chunks');

const PLACE: ChunkPlace = { model: 'chat', commitment: '1', part: 'weights', chunks: 1000 };

for (const [where, chunks] of [
  ['here', 1],
  ['in threads', 1000],
] as const)
  test(`${where}: many at a time, each the committed one; what is not is refused by name, and the others are not disturbed`, async () => {
    const key = randomBytes(32);
    const cipher = chunkCipher(key, PLACE);
    await using openers = startOpeners(key, chunks);
    const plain = Array.from({ length: 20 }, () => randomBytes(10_000));
    const sealed = await Promise.all(
      plain.map(async (chunk, i) => new Uint8Array(await cipher.seal(i, chunk))),
    );
    const open = (index: number, bytes: Uint8Array, leaf = leafOf(plain[index]!)) =>
      openers.open({ place: PLACE, index, leaf, sealed: new Uint8Array(bytes) });
    const refusals = [
      ['seal-rejected', open(3, sealed[3]!.with(5000, sealed[3]![5000]! ^ 1))],
      ['seal-rejected', open(3, sealed[4]!)],
      ['seal-rejected', open(3, new Uint8Array())],
      [
        'seal-rejected',
        openers.open({
          place: { ...PLACE, model: 'other' },
          index: 3,
          leaf: leafOf(plain[3]!),
          sealed: new Uint8Array(sealed[3]!),
        }),
      ],
      ['commitment-mismatch', open(3, sealed[3]!, leafOf(plain[4]!))],
    ] as const;
    const opened = sealed.map((bytes, i) => open(i, bytes));
    const ends = await Promise.allSettled(refusals.map(([, work]) => work));
    for (const [i, [code]] of refusals.entries()) {
      const end = ends[i]!;
      const error: unknown = end.status === 'rejected' ? end.reason : 'it was taken';
      assert.ok(error instanceof VouchError, String(error));
      const { code: was, message } = error as VouchError;
      assert.equal([was, /chunk 3 of part weights/.test(message)], [code, true]);
    }
    for (const [i, { chunk, sealed: back }] of (await Promise.all(opened)).entries())
      assert.equal([hex(chunk), hex(back)], [hex(plain[i]!), hex(sealed[i]!)]);
    assert.ok(
      key.some((byte) => byte !== 0),
      "the caller's key is his",
    );
  });
test.run();

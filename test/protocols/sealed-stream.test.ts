/**
 * Sealed streams: what is made opens in order and only so; the saved vectors are computed again with Node's crypto by the text
 * of docs/PROTOCOL.md, and every way to change, lose, repeat, move or cut a stream is refused.
 */
import { createDecipheriv, hkdfSync } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { concat, fromHex, hex, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { FRAME_BLOCKS, type FrameBlock, openStream, sealStream } from '../../protocols/sealed-stream.ts';
import { exportedKey, generateSealingKeyPair, open, SEALING_INFO, sealTo } from '../../protocols/sealing.ts';
import { assert, suite } from '../harness.ts';

const test = suite('sealed stream');
const VECTORS = `${import.meta.dirname}/../vectors/sealed-stream.json`;
const context = { info: SEALING_INFO.chat, aad: utf8('vouch.v1.infer.chat.e1.one') };

/** A request's two sides. */
async function sides() {
  const keys = await generateSealingKeyPair();
  const sent = await sealTo(keys.publicKey, utf8('ask'), context);
  return { sent, received: await open(keys, sent.sealed, context) };
}

async function framesOf(contents: readonly Uint8Array[], block: FrameBlock = 256) {
  const { sent, received } = await sides();
  const sealer = await sealStream(received, block);
  const frames: Uint8Array[] = [];
  for (const [i, content] of contents.entries())
    frames.push(await sealer.seal(content, { last: i === contents.length - 1 }));
  return { sent, received, frames };
}
async function readAll(sent: Awaited<ReturnType<typeof sides>>['sent'], frames: readonly Uint8Array[]) {
  const opener = openStream(sent);
  const contents: Uint8Array[] = [];
  for (const frame of frames) contents.push((await opener.open(frame)).content);
  return { contents, ended: opener.ended };
}
async function refused(work: Promise<unknown>, what: string) {
  const error = await work.then(
    () => undefined,
    (failure: unknown) => failure,
  );
  assert.ok(error instanceof VouchError && error.code === 'seal-rejected', `${what}: ${String(error)}`);
}

test('what is sealed opens in order, whatever its sizes', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.uint8Array({ maxLength: 700 }), { minLength: 1, maxLength: 6 }),
      fc.constantFrom(...FRAME_BLOCKS),
      async (contents, block) => {
        const { sent, frames } = await framesOf(contents, block);
        const { contents: got, ended } = await readAll(sent, frames);
        assert.equal(got.map(hex), contents.map(hex));
        assert.ok(ended);
        // Lengths are told up to the block.
        frames.forEach((frame, i) => {
          const body = frame.length - 1 - (i === 0 ? 32 : 0) - 16;
          assert.is(body, Math.ceil((contents[i]!.length + 4) / block) * block);
        });
      },
    ),
    { numRuns: 25 },
  );
});

test('any list of frames but the very one is refused: reordered, repeated, lost, or of another stream', async () => {
  const contents = ['one', 'two', 'three', 'four'].map(utf8);
  const { sent, received, frames } = await framesOf(contents);
  const other = await sealStream(received, 256);
  const foreign = [await other.seal(utf8('x')), await other.seal(utf8('y'))];
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom(...frames, ...foreign), { minLength: 1, maxLength: 5 }),
      async (given) => {
        const opener = openStream(sent);
        const mine = given[0] === foreign[0] ? foreign : frames;
        let good = 0;
        for (const frame of given) {
          const fits = good >= 0 && frame === mine[good];
          const opened = await opener.open(frame).then(
            () => true,
            () => false,
          );
          assert.is(opened, fits);
          // After the first that does not open nothing does.
          good = fits ? good + 1 : -1;
        }
        assert.is(opener.ended, good === frames.length && mine === frames);
      },
    ),
    { numRuns: 200 },
  );
});

test('a cut stream has not ended, and nothing follows the last frame', async () => {
  const { sent, frames } = await framesOf(['one', 'two', 'three'].map(utf8));
  for (let kept = 0; kept < frames.length; kept++)
    assert.not.ok((await readAll(sent, frames.slice(0, kept))).ended, `${kept} frames`);
  await refused(readAll(sent, [...frames, frames[2]!]), 'a frame after the last');
  // A frame in the middle does not become the last by its first byte, nor the last one in the middle.
  const early = frames[1]!.with(0, 1);
  await refused(readAll(sent, [frames[0]!, early]), 'called the last');
  const late = frames[2]!.with(0, 0);
  await refused(readAll(sent, [frames[0]!, frames[1]!, late]), 'called one of the middle');
});

test('every flipped bit and every shorter frame is refused', async () => {
  const { sent, frames } = await framesOf(['first', 'second'].map(utf8));
  for (const [index, frame] of frames.entries())
    for (let at = 0; at < frame.length; at++) {
      const flipped = frame.with(at, frame[at]! ^ (1 << (at & 7)));
      await refused(readAll(sent, frames.with(index, flipped)), `frame ${index}, byte ${at}`);
      if (at % 7 === 0)
        await refused(readAll(sent, frames.with(index, frame.slice(0, at))), `frame ${index} cut at ${at}`);
    }
});

test('a stream opens for nobody else: not for another request, nor as a reply', async () => {
  const { received, frames } = await framesOf([utf8('secret')]);
  const { sent: foreign } = await sides();
  await refused(readAll(foreign, frames), 'of another request');
  const { sent } = await framesOf([utf8('secret')]);
  await refused(sent.openReply(frames[0]!.slice(1)), 'as a reply');
  const reply = await received.sealReply(utf8('reply'));
  await refused(readAll(sent, [concat(Uint8Array.of(1), reply)]), 'a reply as a frame');
});

interface Vector {
  readonly secret: string;
  readonly enc: string;
  readonly responseNonce: string;
  readonly block: FrameBlock;
  readonly contents: readonly string[];
  readonly frames: readonly string[];
}

test('the saved vectors hold, and are opened by Node as the document says', async () => {
  const seed = (byte: number) => new Uint8Array(32).fill(byte);
  const streamKey = async (nonce: Uint8Array) => exportedKey(seed(1).buffer, seed(2), nonce);
  if (process.env.VOUCH_SAVE_VECTORS) {
    const contents = ['{"text":"Grüezi","tokens":2}', '{}', ''].map(utf8);
    const sealer = await sealStream({ streamKey }, 256, seed(3));
    const frames: string[] = [];
    for (const [i, content] of contents.entries())
      frames.push(hex(await sealer.seal(content, { last: i === 2 })));
    const [secret, enc, responseNonce] = [1, 2, 3].map((byte) => hex(seed(byte)));
    const vector = {
      version: 1,
      secret,
      enc,
      responseNonce,
      block: 256,
      contents: contents.map(hex),
      frames,
    };
    writeFileSync(VECTORS, `${JSON.stringify(vector, null, 2)}\n`);
  }
  const saved = JSON.parse(readFileSync(VECTORS, 'utf8')) as Vector;
  const sealer = await sealStream({ streamKey }, saved.block, fromHex(saved.responseNonce));
  for (const [i, content] of saved.contents.entries()) {
    const last = i === saved.contents.length - 1;
    assert.is(hex(await sealer.seal(fromHex(content), { last })), saved.frames[i]);
    // Once more with nothing of ours.
    const nonce = fromHex(saved.responseNonce);
    const salt = concat(fromHex(saved.enc), nonce);
    const derived = (info: string, length: number) =>
      new Uint8Array(hkdfSync('sha256', fromHex(saved.secret), salt, info, length));
    const frame = fromHex(saved.frames[i]!);
    const body = frame.subarray(i === 0 ? 33 : 1);
    const iv = derived('nonce', 12);
    iv[11]! ^= i;
    const decipher = createDecipheriv('aes-256-gcm', derived('key', 32), iv);
    decipher.setAAD(last ? Buffer.from('final') : Buffer.alloc(0));
    decipher.setAuthTag(body.subarray(-16));
    const padded = concat(decipher.update(body.subarray(0, -16)), decipher.final());
    const length = new DataView(padded.buffer).getUint32(0);
    assert.is(hex(padded.subarray(4, 4 + length)), content);
    assert.is(frame[0], last ? 1 : 0);
  }
});

test.run();

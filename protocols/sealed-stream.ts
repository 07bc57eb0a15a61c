/**
 * An answer that comes in pieces: a sequence of sealed frames to whoever sealed the request. The construction is that of
 * chunked OHTTP (draft-ietf-ohai-chunked-ohttp, responses) with a label, a framing and a padding of our own:
 *
 *   secret, key, nonce = as of a reply (sealing.ts), exported under "vouch/v2/stream" with the stream's own response_nonce
 *   frame   = kind (1) || response_nonce (32, of the first frame only) || ciphertext || tag (16)
 *             kind 0x00: more follow, aad empty; 0x01: the last one, aad "final"
 *             AES-256-GCM under key; nonce of frame i = nonce XOR i (96 bits, big-endian), i from 0
 *   content = length (4, big-endian) || bytes || zeros up to a multiple of `block`
 *
 * A frame that was changed, repeated, left out or moved does not open, because its number is in its nonce; the end cannot be
 * cut off unnoticed, because only the last frame opens as the last. After the first that does not open nothing does.
 *
 * Not guaranteed: that a stream goes on, which whoever carries it decides. Not hidden: how many frames there are, when they
 * come, and the length of each up to `block`; so whoever sends decides what a frame's time and size may tell.
 */
import { concat, randomBytes, utf8 } from './encoding.ts';
import { VouchError } from './errors.ts';
import { InlineAesGcm } from './inline-hpke.ts';
import {
  MAX_PLAINTEXT_BYTES,
  type OpenedRequest,
  type SealedRequest,
  STREAM_NONCE_BYTES,
  type StreamKey,
} from './sealing.ts';

/** What contents may be padded to multiples of, in bytes. */
export const FRAME_BLOCKS = [256, 1024, 4096, 16_384] as const;
export type FrameBlock = (typeof FRAME_BLOCKS)[number];

const LENGTH_BYTES = 4;
const TAG_BYTES = 16;
const MORE = 0;
const LAST = 1;
const AADS = [new Uint8Array(), utf8('final')] as const;
/** More frames than any answer has, and far fewer than AES-GCM allows one key. */
const MAX_FRAMES = 2 ** 32;

export interface FrameSealer {
  /** The next frame. Calls have to wait for each other. Throws `too-large`, and RangeError after the last. */
  seal(content: Uint8Array, options?: { readonly last?: boolean }): Promise<Uint8Array>;
  /** frames so far */
  readonly count: number;
}

export interface OpenedFrame {
  readonly content: Uint8Array;
  readonly last: boolean;
}

export interface FrameOpener {
  /** The content of the next frame. Calls have to wait for each other. Throws `seal-rejected`, then for ever. */
  open(frame: Uint8Array): Promise<OpenedFrame>;
  /** whether the last frame was opened */
  readonly ended: boolean;
}

/** The recipient of a request answers it with a stream. `nonce`: for test vectors alone. */
export async function sealStream(
  request: Pick<OpenedRequest, 'streamKey'>,
  block: FrameBlock,
  nonce: Uint8Array = randomBytes(STREAM_NONCE_BYTES),
): Promise<FrameSealer> {
  const cipher = cipherOf(await request.streamKey(nonce));
  let count = 0;
  let ended = false;
  return {
    get count() {
      return count;
    },
    async seal(content, { last = false } = {}) {
      if (ended || count >= MAX_FRAMES) throw new RangeError('sealed stream: it has ended');
      const length = LENGTH_BYTES + content.length;
      if (length > MAX_PLAINTEXT_BYTES)
        throw new VouchError(
          'too-large',
          `frame: expected at most ${MAX_PLAINTEXT_BYTES} bytes, got ${length}`,
        );
      const padded = new Uint8Array(Math.ceil(length / block) * block);
      new DataView(padded.buffer).setUint32(0, content.length);
      padded.set(content, LENGTH_BYTES);
      const kind = last ? LAST : MORE;
      const at = count++;
      ended = last;
      const sealed = await cipher.seal(at, padded, AADS[kind]);
      return concat(Uint8Array.of(kind), at === 0 ? nonce : new Uint8Array(), sealed);
    },
  };
}

/** Whoever sealed a request opens its stream. */
export function openStream(request: Pick<SealedRequest, 'streamKey'>): FrameOpener {
  let cipher: Cipher | undefined;
  let count = 0;
  let broken = false;
  let ended = false;
  const attempt = async (frame: Uint8Array): Promise<OpenedFrame> => {
    const kind = frame[0];
    const bodyAt = 1 + (cipher === undefined ? STREAM_NONCE_BYTES : 0);
    if ((kind !== MORE && kind !== LAST) || frame.length < bodyAt + LENGTH_BYTES + TAG_BYTES)
      throw new TypeError();
    cipher ??= cipherOf(await request.streamKey(frame.slice(1, bodyAt)));
    const padded = await cipher.open(count, frame.subarray(bodyAt), AADS[kind]);
    const end = LENGTH_BYTES + new DataView(padded.buffer).getUint32(0);
    if (end > padded.length || padded.subarray(end).some((byte) => byte !== 0)) throw new TypeError();
    return { content: padded.subarray(LENGTH_BYTES, end), last: kind === LAST };
  };
  return {
    get ended() {
      return ended;
    },
    async open(frame) {
      try {
        if (broken || ended) throw new TypeError();
        const opened = await attempt(frame);
        count += 1;
        ended = opened.last;
        return opened;
      } catch {
        // One error for every cause: what differs would be an oracle.
        broken = true;
        throw new VouchError(
          'seal-rejected',
          `sealed stream: frame ${count} was changed, lost, repeated or came out of turn; ask again`,
        );
      }
    },
  };
}

interface Cipher {
  seal(count: number, plaintext: Uint8Array, aad: Uint8Array): Promise<Uint8Array>;
  open(count: number, sealed: Uint8Array, aad: Uint8Array): Promise<Uint8Array>;
}

function cipherOf({ key, nonce }: StreamKey): Cipher {
  const aead = new InlineAesGcm().createEncryptionContext(key);
  const nonceOf = (count: number): Uint8Array => {
    const own = nonce.slice();
    const view = new DataView(own.buffer, own.byteOffset);
    view.setUint32(8, view.getUint32(8) ^ count);
    return own;
  };
  return {
    seal: async (count, plaintext, aad) => new Uint8Array(await aead.seal(nonceOf(count), plaintext, aad)),
    open: async (count, sealed, aad) => new Uint8Array(await aead.open(nonceOf(count), sealed, aad)),
  };
}

/**
 * The chunks of which large models consist: their leaves in the commitment, and their encryption (weights.ts has both formats). Apart
 * from it, so that a thread that opens chunks loads little.
 */
import { equal, sha256, utf8 } from './encoding.ts';
import { VouchError } from './errors.ts';
import { hkdfExpand, hkdfExtract } from './hkdf.ts';
import { InlineAesGcm } from './inline-hpke.ts';
import { native } from './native-crypto.ts';

/** In the order in which they are committed to. */
export const PARTS = ['weights', 'tokenizer', 'template', 'defaults'] as const;
export type PartName = (typeof PARTS)[number];

/** Of what is committed to. */
export const WEIGHTS_CHUNK_BYTES = 4 * 1024 * 1024;
export const SEALED_CHUNK_OVERHEAD = 16;
const LEAF = utf8('vouch/v1/weights-leaf\0');

export const leafOf = (chunk: Uint8Array): Uint8Array => sha256(LEAF, chunk);

/** Whose chunk it is: what encryption binds. */
export interface ChunkPlace {
  readonly model: string;
  readonly commitment: string;
  readonly part: PartName;
  readonly chunks: number;
}

export interface ChunkCipher {
  seal(index: number, chunk: Uint8Array): Promise<Uint8Array>;
  /**
   * Opens a chunk into `target`, which has its length, and compares it with its leaf. Throws `seal-rejected` and
   * `commitment-mismatch`, which name part and chunk; what is in `target` counts for nothing then.
   */
  open(index: number, sealed: Uint8Array, leaf: Uint8Array, target: Uint8Array): Promise<void>;
}

/** Throws `commitment-mismatch` for a chunk that is not the one that was committed to. */
export function demandLeaf(
  model: string,
  part: string,
  index: number,
  chunk: Uint8Array,
  leaf: Uint8Array,
): void {
  if (!equal(leafOf(chunk), leaf)) throw notCommitted(model, part, index);
}

const notCommitted = (model: string, part: string, index: number) =>
  new VouchError(
    'commitment-mismatch',
    `model ${model}: chunk ${index} of part ${part} is not the one that the commitment names`,
  );

/** Seals and opens the chunks of one part. `key` encrypts one publication: a chunk has one nonce for good. */
export function chunkCipher(key: Uint8Array, { model, commitment, part, chunks }: ChunkPlace): ChunkCipher {
  const info = utf8(`vouch/v1/weights-part/${part}`);
  const partKey = hkdfExpand(hkdfExtract(new Uint8Array(), key), info, 32);
  const aead = new InlineAesGcm().createEncryptionContext(partKey);
  const nonceOf = (index: number): Uint8Array => {
    const nonce = new Uint8Array(12);
    new DataView(nonce.buffer).setUint32(8, index);
    return nonce;
  };
  const aadOf = (index: number) => utf8(`vouch/v1/weights/${model}/${commitment}/${part}/${index}/${chunks}`);
  return {
    seal: async (index, chunk) => new Uint8Array(await aead.seal(nonceOf(index), chunk, aadOf(index))),
    async open(index, sealed, leaf, target) {
      if (target.length !== sealed.length - SEALED_CHUNK_OVERHEAD)
        throw new RangeError('chunk: expected room for exactly its plaintext');
      let found: Uint8Array;
      try {
        const [nonce, aad] = [nonceOf(index), aadOf(index)];
        if (native) found = native.openAesGcmInto(partKey, nonce, sealed, aad, target, LEAF);
        else {
          target.set(new Uint8Array(await aead.open(nonce, sealed, aad)));
          found = leafOf(target);
        }
      } catch {
        throw new VouchError(
          'seal-rejected',
          `model ${model}: chunk ${index} of part ${part} was changed or is of another model; let the vendor publish it again`,
        );
      }
      if (!equal(found, leaf)) throw notCommitted(model, part, index);
    },
  };
}

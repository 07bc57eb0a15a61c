/**
 * One shard of a proof's multi-scalar multiplications: a range of scalars, or of their bits, times the base points of one
 * or several sections of a proving key. The wires of a circuit are the scalars of four sections, so they travel once.
 * Scalars and results are sealed bulk payloads; the envelope in the header names what they belong to. Nothing here depends
 * on the witness: the ranges follow from the key and the workers, and which wires are bits from the circuit's constraints.
 */
import { z } from 'zod';
import { POINT_BYTES, SCALAR_BYTES } from './bn254.ts';
import { Digest, Id, messageType } from './envelope.ts';
import { VouchError } from './errors.ts';
import { SECTIONS, type Section } from './sections.ts';
import { MAX_CHUNK_BYTES } from './streams.ts';

export { SECTIONS, type Section };

/** Bytes of one affine point, little-endian Montgomery as in the zkey. Scalars are little-endian, in standard form. */
export const pointBytes = (section: Section): number => POINT_BYTES[section === 'B2' ? 'G2' : 'G1'];

/** Bits of a scalar as it is stored. */
export const SCALAR_BITS = 8 * SCALAR_BYTES;

/** A section of the key whose base points a shard multiplies, and where these lie. */
const ShardBases = z.object({
  section: z.enum(SECTIONS).describe('section of the proving key'),
  count: z
    .int()
    .min(1)
    .max(2 ** 20)
    .describe("number of base points: they belong to the last so many of the shard's scalars"),
  chunks: z.array(Digest).min(1).max(256).describe('the chunks that hold the base points, in order'),
  offset: z
    .int()
    .min(0)
    .max(MAX_CHUNK_BYTES - 1)
    .describe('bytes of the first chunk before the first base point'),
});
export type ShardBases = z.infer<typeof ShardBases>;

export const Shard = messageType(
  'msm.shard',
  3,
  z
    .object({
      job: Id.describe('the `<job>` of the subject'),
      shard: Id.describe('the `<shard>` of the subject'),
      worker: Id.describe('the `<worker>` of the subject'),
      count: z
        .int()
        .min(1)
        .max(2 ** 20)
        .describe('number of scalars'),
      wide: z
        .int()
        .min(0)
        .max(2 ** 20)
        .describe(
          'how many of them may be any number; the others are bits, by the constraints of the circuit',
        ),
      bits: z
        .object({
          from: z.int().min(0).max(248).multipleOf(8),
          count: z.int().min(8).max(256).multipleOf(8),
        })
        .refine(({ from, count }) => from + count <= SCALAR_BITS, 'expected a range within 256 bits')
        .describe(
          'which bits of the scalars travel; the sum is that of these bits alone, as if they were the lowest',
        ),
      writer: Id.describe('who stored the chunks: the client whose job it is'),
      bases: z.array(ShardBases).min(1).max(SECTIONS.length).describe('one sum each, of the same scalars'),
    })
    .refine(({ count, wide }) => wide <= count, 'expected no more wide scalars than scalars')
    .refine(
      ({ count, bases }) => bases.every((part) => part.count <= count),
      'expected no more base points than scalars',
    ),
);
export type Shard = z.infer<typeof Shard.schema>;

/** Which of a shard's scalars travel, and how. */
export type ShardForm = Pick<Shard, 'count' | 'wide' | 'bits'>;

const bitBytes = (count: number): number => Math.ceil(count / 8);

/** Bytes of a shard's scalars before they are sealed. */
export function packedBytes({ count, wide, bits }: ShardForm): number {
  const map = wide < count ? bitBytes(count) : 0;
  const narrow = wide < count && bits.from === 0 ? bitBytes(count - wide) : 0;
  return map + narrow + wide * (bits.count / 8);
}

/** All bits of all scalars: they travel as they are, and whoever looks at this first spares a copy each way. */
export const travelsWhole = ({ count, wide, bits }: ShardForm): boolean =>
  wide === count && bits.count === SCALAR_BITS;

/**
 * Packs scalars (32 bytes each, little-endian, standard form): which of them are wide, one bit each, unless all are; the
 * others as one bit each, unless bit 0 is not among those that travel; then the wide ones, the bytes of `bits` of each.
 * Bits fill a byte from the lowest on. `isWide` counts from the first scalar given. A scalar that is not wide and not a
 * bit is a RangeError: the constraints say that there is none.
 */
export function packScalars(
  scalars: Uint8Array,
  isWide: (index: number) => boolean,
  form: ShardForm,
): Uint8Array {
  const { count, wide, bits } = form;
  const packed = new Uint8Array(packedBytes(form));
  const all = wide === count;
  const lowest = bits.from === 0;
  const width = bits.count / 8;
  let bit = all ? 0 : bitBytes(count) * 8;
  let at = all ? 0 : bitBytes(count) + (lowest ? bitBytes(count - wide) : 0);
  for (let i = 0; i < count; i++) {
    const start = i * SCALAR_BYTES;
    if (all || isWide(i)) {
      if (!all) packed[i >> 3]! |= 1 << (i & 7);
      // Views of so few bytes would take longer than their bytes.
      for (let from = start + bits.from / 8, end = from + width; from < end; )
        packed[at++] = scalars[from++]!;
    } else {
      if (!isBit(scalars, start)) throw new RangeError(`scalar ${i}: expected a bit`);
      if (lowest) {
        packed[bit >> 3]! |= scalars[start]! << (bit & 7);
        bit++;
      }
    }
  }
  if (at !== packed.length) throw new RangeError(`expected ${wide} wide scalars, got another number`);
  return packed;
}

function isBit(scalars: Uint8Array, start: number): boolean {
  if (scalars[start]! > 1) return false;
  for (let i = 1; i < SCALAR_BYTES; i++) if (scalars[start + i] !== 0) return false;
  return true;
}

/** The scalars again, 32 bytes each, those bits that travelled as the lowest. Throws `bad-message` for any other length or map. */
export function unpackScalars(packed: Uint8Array, form: ShardForm): Uint8Array {
  const { count, wide, bits } = form;
  const expected = packedBytes(form);
  if (packed.length !== expected)
    throw new VouchError(
      'bad-message',
      `msm.shard: expected ${expected} bytes of scalars, got ${packed.length}`,
    );
  const scalars = new Uint8Array(count * SCALAR_BYTES);
  const all = wide === count;
  const lowest = bits.from === 0;
  const width = bits.count / 8;
  let bit = all ? 0 : bitBytes(count) * 8;
  let at = all ? 0 : bitBytes(count) + (lowest ? bitBytes(count - wide) : 0);
  let left = wide;
  for (let i = 0; i < count; i++) {
    if (all || (packed[i >> 3]! >> (i & 7)) & 1) {
      if (--left < 0) break;
      for (let to = i * SCALAR_BYTES, end = to + width; to < end; ) scalars[to++] = packed[at++]!;
    } else if (lowest) {
      scalars[i * SCALAR_BYTES] = (packed[bit >> 3]! >> (bit & 7)) & 1;
      bit++;
    }
  }
  if (left !== 0) throw new VouchError('bad-message', `msm.shard: expected ${wide} wide scalars`);
  return scalars;
}

export const ShardResult = messageType('msm.result', 3, z.object({ job: Id, shard: Id, worker: Id }));
export type ShardResult = z.infer<typeof ShardResult.schema>;

const MILLIS_BYTES = 4;

/**
 * What is sealed in a result: the milliseconds that the multiplications took (4 bytes, big-endian), then one point for each
 * of the shard's `bases`, in their order. The time depends on the scalars, so it is for the coordinator alone.
 */
export function encodeShardAnswer(millis: number, points: readonly Uint8Array[]): Uint8Array {
  const answer = new Uint8Array(MILLIS_BYTES + points.reduce((sum, { length }) => sum + length, 0));
  new DataView(answer.buffer).setUint32(0, millis);
  let at = MILLIS_BYTES;
  for (const point of points) {
    answer.set(point, at);
    at += point.length;
  }
  return answer;
}

/** Throws `bad-message` unless it has the length of a time and these sections' points; whether they are points is not looked at. */
export function decodeShardAnswer(
  answer: Uint8Array,
  sections: readonly Section[],
): { millis: number; points: Uint8Array[] } {
  const expected = MILLIS_BYTES + sections.reduce((sum, section) => sum + pointBytes(section), 0);
  if (answer.length !== expected)
    throw new VouchError(
      'bad-message',
      `msm.result: expected a time and ${sections.length} points (${expected} bytes), got ${answer.length} bytes`,
    );
  const { buffer, byteOffset, length } = answer;
  const millis = new DataView(buffer, byteOffset, length).getUint32(0);
  let at = MILLIS_BYTES;
  const points = sections.map((section) => {
    const point = answer.slice(at, at + pointBytes(section));
    at += point.length;
    return point;
  });
  return { millis, points };
}

/** A worker that could not do a shard says so on the result subject, so that it is assigned anew at once. */
export const ShardRefused = messageType(
  'msm.refused',
  1,
  z.object({ job: Id, shard: Id, worker: Id, code: z.string().max(64).describe('error code') }),
);

/** Shards that a worker need not do any more: their results would come too late, or their job has ended. */
export const ShardsDropped = messageType(
  'msm.dropped',
  1,
  z.object({ shards: z.array(z.guid()).min(1).max(1024).describe("ids of the shards' messages") }),
);

/** What a coordinator gives a worker by its punctuality, best first: everything; one shard at a time; copies of what others have; nothing. */
export const STANDINGS = ['full', 'less', 'copies', 'none'] as const;
export type Standing = (typeof STANDINGS)[number];
export const WorkerStanding = messageType(
  'msm.standing',
  1,
  z.object({
    standing: z
      .enum(STANDINGS)
      .describe(
        'full: what it can hold; less: one shard at a time; copies: what others have, too; none: a test now and then',
      ),
    late: z.int().min(0).describe('shards that it did not answer in time, less those that it did since'),
  }),
);

/** What the seals of a shard and of its result are bound to, besides the domain. */
export const shardContext = (job: string, shard: string, worker: string, epoch: number): Uint8Array =>
  new TextEncoder().encode(`${job}/${shard}/${worker}/${epoch}`);

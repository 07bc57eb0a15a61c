/**
 * One shard of a multi-scalar multiplication: a range of one section of a proving key times its scalars.
 * Scalars and results are sealed bulk payloads; the envelope in the header names what they belong to. Nothing
 * here depends on the witness: the ranges and their order follow from the key alone.
 */
import { z } from 'zod';
import { POINT_BYTES } from './bn254.ts';
import { Digest, Id, messageType } from './envelope.ts';
import { VouchError } from './errors.ts';
import { SECTIONS, type Section } from './sections.ts';
import { MAX_CHUNK_BYTES } from './streams.ts';

export { SECTIONS, type Section };

/** Bytes of one affine point, little-endian Montgomery as in the zkey. Scalars are little-endian, in standard form. */
export const pointBytes = (section: Section): number => POINT_BYTES[section === 'B2' ? 'G2' : 'G1'];

export const Shard = messageType(
  'msm.shard',
  2,
  z.object({
    job: Id.describe('the `<job>` of the subject'),
    shard: Id.describe('the `<shard>` of the subject'),
    worker: Id.describe('the `<worker>` of the subject'),
    section: z.enum(SECTIONS).describe('section of the proving key'),
    count: z
      .int()
      .min(1)
      .max(2 ** 20)
      .describe('number of base points, and of scalars'),
    writer: Id.describe('who stored the chunks: the client whose job it is'),
    chunks: z.array(Digest).min(1).max(256).describe('the chunks that hold the base points, in order'),
    offset: z
      .int()
      .min(0)
      .max(MAX_CHUNK_BYTES - 1)
      .describe('bytes of the first chunk before the first base point'),
  }),
);
export type Shard = z.infer<typeof Shard.schema>;

export const ShardResult = messageType(
  'msm.result',
  2,
  z.object({
    job: Id,
    shard: Id,
    worker: Id,
    section: z.enum(SECTIONS),
  }),
);
export type ShardResult = z.infer<typeof ShardResult.schema>;

const MILLIS_BYTES = 4;

/**
 * What is sealed in a result: the milliseconds that the multiplication took (4 bytes, big-endian), then the point. The
 * time depends on the scalars, so it is for the coordinator alone.
 */
export function encodeShardAnswer(millis: number, point: Uint8Array): Uint8Array {
  const answer = new Uint8Array(MILLIS_BYTES + point.length);
  new DataView(answer.buffer).setUint32(0, millis);
  answer.set(point, MILLIS_BYTES);
  return answer;
}

/** Throws `bad-message` for what is too short to be one; whether the rest is a point is not looked at. */
export function decodeShardAnswer(answer: Uint8Array): { millis: number; point: Uint8Array } {
  if (answer.length < MILLIS_BYTES)
    throw new VouchError(
      'bad-message',
      `msm.result: expected a time and a point, got ${answer.length} bytes`,
    );
  const { buffer, byteOffset, length } = answer;
  const millis = new DataView(buffer, byteOffset, length).getUint32(0);
  return { millis, point: answer.slice(MILLIS_BYTES) };
}

/** A worker that could not do a shard says so on the result subject, so that it is assigned anew at once. */
export const ShardRefused = messageType(
  'msm.refused',
  1,
  z.object({ job: Id, shard: Id, worker: Id, code: z.string().max(64).describe('error code') }),
);

/** What the seals of a shard and of its result are bound to, besides the domain. */
export const shardContext = (job: string, shard: string, worker: string, epoch: number): Uint8Array =>
  new TextEncoder().encode(`${job}/${shard}/${worker}/${epoch}`);

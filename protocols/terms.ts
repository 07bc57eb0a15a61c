/**
 * What a vendor lets be asked of a model: part of the manifest that it signs, enforced by the coordinator and by each
 * key-broker on its own. A proof tells one bit; enough bits with moving thresholds and small test sets would tell the
 * weights, so the terms bound both what one proof may ask and how many there may be.
 */
import { z } from 'zod';
import { Digest } from './envelope.ts';

/** How many proofs; absent: as many as one likes. */
const Budget = z.strictObject({
  perDay: z.int().min(0).optional().describe('within 24 hours'),
  ever: z.int().min(0).optional().describe('since the model was published'),
});

/** What an answer holds besides the class that was decided on. */
export const ANSWER_KINDS = ['decision', 'rounded', 'exact'] as const;
export type AnswerKind = (typeof ANSWER_KINDS)[number];

export const Terms = z.strictObject({
  minimumRows: z.int().min(1).max(65_536).describe('rows of a test set at least'),
  thresholdStep: z
    .int()
    .min(1)
    .max(100)
    .describe('thresholds are multiples of so many percent of the rows, rounded up to whole rows'),
  testSets: z
    .array(Digest)
    .min(1)
    .max(1024)
    .optional()
    .describe('the test sets that a proof may be about, as blobs; absent: any'),
  requester: Budget.describe('proofs for one requester'),
  all: Budget.describe('proofs for all requesters together'),
  answers: z
    .enum(ANSWER_KINDS)
    .describe('what answers hold: the decision only, rounded scores, or the exact logits'),
});
export type Terms = z.infer<typeof Terms>;

/** The terms of a vendor that says nothing. */
export const DEFAULT_TERMS: Terms = {
  minimumRows: 100,
  thresholdStep: 1,
  requester: { perDay: 20, ever: 200 },
  all: { perDay: 200 },
  answers: 'decision',
};

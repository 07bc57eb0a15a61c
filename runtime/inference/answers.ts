/** What of a model's result leaves in an answer, by the vendor's terms. */
import { type Architecture, answerName, outputBound } from '../../circuits/model/architecture.ts';
import type { Decided } from '../../protocols/inference.ts';
import type { AnswerKind } from '../../protocols/terms.ts';

/**
 * The decision and its public name; `exact`: the integer logits, with which a few hundred answers give a linear model
 * away; `rounded`: each logit as whole percent of the range that the architecture allows it, which is public, wide, and
 * the same for all applications.
 */
export function decidedOf(
  answers: AnswerKind,
  architecture: Architecture,
  { decision, logits }: { readonly decision: number; readonly logits: ArrayLike<number> },
): Decided {
  const decided = { decision, label: answerName(architecture, decision)! };
  if (answers === 'decision') return decided;
  const exact = Array.from(logits);
  if (answers === 'exact') return { ...decided, scores: exact };
  // A logit lies in -bound..bound, whatever the parameters and the application.
  const bound = outputBound(architecture);
  return { ...decided, scores: exact.map((logit) => Math.round((50 * (logit + bound)) / bound)) };
}

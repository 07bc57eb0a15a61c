/** Which circuit a statement is about: one of public rows, or one of an answer to a hidden row. */
import type { Architecture } from './architecture.ts';
import { type EmittedCircuit, emitQualityCircuit, type Toolchain } from './emit.ts';
import { emitHiddenCircuit } from './emit-hidden.ts';
import type { OneAnswer, TestSet } from './test-set.ts';

/** What is constant in a circuit: rows and labels, or the answer to a row that is not. */
export type CircuitSubject = TestSet | { readonly hiddenAnswer: OneAnswer };

/** Throws `bad-input` for what does not fit the architecture. */
export const emitCircuit = (
  architecture: Architecture,
  subject: CircuitSubject,
  toolchain: Toolchain,
): EmittedCircuit =>
  'hiddenAnswer' in subject
    ? emitHiddenCircuit(architecture, subject.hiddenAnswer, toolchain)
    : emitQualityCircuit(architecture, subject, toolchain);

/**
 * What the proofs of a pile are about, found by content: a table is the test set of a proof of quality, and the one row of a proof
 * of an answer; JSON of numbers by name is that answer's input or output tensors, as the model of the proof names them; a line of
 * hex is the salt of a row that a proof hides.
 */
import { type Architecture, parseArchitecture } from '../../circuits/model/architecture.ts';
import type { Dictionary } from '../../circuits/model/dictionary.ts';
import { isRowSalt, readRowSalt } from '../../circuits/model/row.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import type { PublishedProof } from '../../protocols/proof.ts';
import { answered, featuresIn, outputsIn } from '../models/answers.ts';
import { dictionaryOf, readLabelled, testSetOf } from '../models/labelled-rows.ts';
import type { Question } from '../verdict/judge.ts';
import type { NamedText } from '../verdict/kept.ts';

export type About = Pick<Question, 'testSet' | 'row' | 'outputs'>;

export interface Answers {
  /** Throws `bad-input` for a second table or salt. */
  takeText(file: NamedText): void;
  /** JSON that is nothing else. */
  takeJson(file: NamedText, json: unknown): void;
  /** Throws `bad-input` where two files would do. */
  about(published: PublishedProof, dictionary: Dictionary | undefined): About;
  /** What no proof was about. */
  left(): { readonly name: string; readonly reason: string }[];
}

export function onlyOne<T extends { readonly name: string }>(
  what: string,
  before: T | undefined,
  next: T,
): T {
  if (before === undefined) return next;
  throw new VouchError(
    'bad-input',
    `${what}: expected one, got ${before.name} and ${next.name}; leave one out`,
  );
}

/** `used` is told which file was taken for what. */
export function createAnswers(used: { name: string; as: string }[]): Answers {
  let table: NamedText | undefined;
  let salt: NamedText | undefined;
  /** with the names that an object has */
  const jsons: (NamedText & { readonly names: string })[] = [];
  const taken = new Set<NamedText>();

  const take = (file: NamedText | undefined, as: string): NamedText | undefined => {
    if (file !== undefined && !taken.has(file)) {
      taken.add(file);
      used.push({ name: file.name, as });
    }
    return file;
  };
  const tensors = (what: string, named: readonly { readonly name: string }[]): NamedText | undefined =>
    jsons
      .filter(({ names }) => names === namesOf(named))
      .reduce<NamedText | undefined>((before, next) => onlyOne(what, before, next), undefined);
  /** What a model was asked and gave. Tensors of the same names could be either, and are neither. */
  const askedOf = ({
    named,
  }: Architecture): { input?: NamedText | undefined; output?: NamedText | undefined } => {
    if (named === undefined) return { input: take(table ?? sole(jsons), 'the row that was asked about') };
    if (namesOf(named.inputs) === namesOf(named.outputs)) return {};
    return {
      input: take(tensors('input tensors', named.inputs), 'input tensors'),
      output: take(tensors('output tensors', named.outputs), 'output tensors'),
    };
  };

  return {
    takeText(file) {
      const text = file.text.trim();
      if (isRowSalt(text)) salt = onlyOne('salt of a row', salt, { name: file.name, text });
      else table = onlyOne('test set', table, file);
    },
    takeJson: (file, json) => void jsons.push({ ...file, names: keysOf(json) }),
    about({ record }, dictionary) {
      const { statement } = record;
      if (statement.statement === 'quality') {
        const rows = take(table, 'test set');
        return {
          testSet:
            rows &&
            ((architecture) =>
              testSetOf(labelled(rows, dictionary ?? dictionaryOf(architecture)), architecture)),
        };
      }
      let model: Architecture;
      try {
        model = parseArchitecture(record.architecture);
      } catch {
        // That it is none is the verdict's to tell.
        return {};
      }
      const { input, output } = askedOf(model);
      const features = (architecture: Architecture, from: NamedText) =>
        featuresIn(from.text, architecture, from.name);
      const outputs =
        output && ((architecture: Architecture) => outputsIn(output.text, architecture, output.name));
      if (statement.statement === 'hidden-inference') {
        const opening = take(salt, 'salt of the row');
        return {
          outputs,
          row:
            input &&
            opening &&
            ((architecture) => ({
              features: features(architecture, input),
              salt: readRowSalt(opening.text, opening.name),
            })),
        };
      }
      return {
        testSet:
          input &&
          ((architecture) =>
            answered(architecture, features(architecture, input), {
              decision: statement.decision,
              outputs: outputs && (() => outputs(architecture)),
            })),
      };
    },
    left() {
      const reasons = [
        [table, 'a table, and no proof that could be about its rows'],
        [salt, 'a salt, and no proof that hides a row'],
        ...jsons.map((file) => [file, NO_JSON] as const),
      ] as const;
      return reasons.flatMap(([file, reason]) =>
        file === undefined || taken.has(file) ? [] : [{ name: file.name, reason }],
      );
    },
  };
}

const NO_JSON =
  'JSON, but neither a proof, a policy, a manifest, an opening, a dictionary nor what a proof is about';

const sole = <T>(items: readonly T[]): T | undefined => (items.length === 1 ? items[0] : undefined);

const inOrder = (names: readonly string[]): string => JSON.stringify([...names].sort());
const namesOf = (named: readonly { readonly name: string }[]): string =>
  inOrder(named.map(({ name }) => name));
/** None of what is no object; a model has at least one input and one output. */
const keysOf = (json: unknown): string =>
  inOrder(typeof json === 'object' && json !== null && !Array.isArray(json) ? Object.keys(json) : []);

function labelled({ name, text }: NamedText, dictionary: Dictionary) {
  try {
    return readLabelled(text, dictionary);
  } catch (error) {
    throw new VouchError('bad-file', `${name}: ${messageOf(error)}`);
  }
}

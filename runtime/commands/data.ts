/** `vouch data`: a dictionary drafted from a table, and a table as the features that a model sees. */
import { type Command, Option } from '@commander-js/extra-typings';
import { classNames, featureNames, preprocessingOf } from '../../circuits/model/dictionary.ts';
import { decimalOf } from '../../circuits/model/numbers.ts';
import { preprocess } from '../../circuits/model/preprocessing.ts';
import { readText, writeWhole } from '../home/files.ts';
import { describeTable } from '../models/describe.ts';
import { split } from '../models/labelled-rows.ts';
import { csvLine } from '../models/table.ts';
import { readDictionary, readRows, testSetFor } from '../models/test-sets.ts';
import { sealTestSet } from '../models/vendor-log.ts';
import type { OptionsOf } from './declaration.ts';
import { type Print, print } from './terminal.ts';

const MAX_BYTES = 64 * 1024 * 1024;

const describing = (command: Command) =>
  command
    .argument('<file>', 'a table with a header')
    .requiredOption(
      '--label <name>',
      'the column that says which class a row is of, or which number is right for it',
    )
    .option('--out <file>', 'where the dictionary goes; default: stdout');

const features = (command: Command) =>
  command
    .argument('<file>', 'labelled rows')
    .requiredOption('--dictionary <file>', 'what the columns mean')
    .addOption(
      new Option('--split <part>', 'only the rows to train on, or only those to test with').choices([
        'train',
        'test',
      ] as const),
    )
    .option('--out <file>', 'where the features go; default: stdout');

export function define(command: Command): void {
  describing(
    command.command('describe').description('draft a data dictionary from a table; read it, then edit it'),
  ).action((file, options) => describeCommand(file, options, print));
  features(
    command
      .command('features')
      .description(
        'what a model will see of the rows, to train it on: features, and the class as a number from 0, or the number',
      ),
  ).action((file, options) => featuresCommand(file, options, print));
  sealing(
    command
      .command('seal')
      .description(
        "a salted root of a test set, for the vendor's log: it tells nothing of the rows until the proof",
      ),
  ).action((file, options) => sealCommand(file, options, print));
}

const sealing = (command: Command) =>
  command
    .argument('<file>', 'labelled rows, all of which are the test set')
    .requiredOption('--dictionary <file>', 'what the columns mean')
    .requiredOption('--out <file>', 'what opens the root; keep it secret until the proof')
    .option('--json', 'one JSON object', false);

async function put(text: string, out: string | undefined, print: Print): Promise<void> {
  if (out === undefined) print(text.trimEnd());
  else await writeWhole(out, text, { mode: 0o644 });
}

/** Throws `bad-file`, which says what of the table is no column or no label. */
export function describeCommand(
  file: string,
  { label, out }: OptionsOf<typeof describing>,
  print: Print,
): Promise<void> {
  const dictionary = describeTable(readText(file, 'data', MAX_BYTES), label);
  return put(`${JSON.stringify(dictionary, undefined, 2)}\n`, out, print);
}

/** Throws `bad-file`, which names the line and the column. */
export function featuresCommand(
  file: string,
  { dictionary: path, split: part, out }: OptionsOf<typeof features>,
  print: Print,
): Promise<void> {
  const dictionary = readDictionary(path);
  const rows = readRows(file, dictionary);
  const chosen = part === undefined ? rows : split(rows, dictionary)[part];
  const spec = preprocessingOf(dictionary);
  const { number } = dictionary.label;
  const header = [
    ...featureNames(dictionary),
    number ? dictionary.label.name : `${dictionary.label.name} (${numbered(classNames(dictionary))})`,
  ];
  const lines = chosen.map(
    ({ cells, label }) =>
      `${[...preprocess(spec, cells), number ? decimalOf(label, number) : label].join(',')}\n`,
  );
  return put(csvLine(header) + lines.join(''), out, print);
}

/** Throws `bad-file`, which names the line and the column. */
export async function sealCommand(
  file: string,
  { dictionary: path, out, json }: OptionsOf<typeof sealing>,
  print: Print,
): Promise<void> {
  const dictionary = readDictionary(path);
  const sealed = sealTestSet(testSetFor(readRows(file, dictionary), preprocessingOf(dictionary)));
  await writeWhole(out, `${JSON.stringify(sealed)}\n`);
  const { root, rows } = sealed;
  print(json ? { root, rows, sealed: out } : `root ${root}\t${rows} rows\t${out}`);
}

const numbered = (names: readonly string[]): string => names.map((name, c) => `${c} = ${name}`).join('; ');

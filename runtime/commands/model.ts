/**
 * `vouch model add`: publishes a vendor's own ONNX file for rows that a dictionary describes. The same way as the
 * demonstration's model: quantised, committed, sealed, its key given to this host's key-broker, or split over several.
 */
import type { Command } from '@commander-js/extra-typings';
import { commit } from '../../circuits/model/commit.ts';
import { VouchError } from '../../protocols/errors.ts';
import { token } from '../../protocols/subjects.ts';
import { DEFAULT_TERMS } from '../../protocols/terms.ts';
import { readTensorSamples } from '../client/inference-proof.ts';
import { readNamed } from '../home/files.ts';
import type { Log } from '../home/log.ts';
import { credentials, idIn } from '../installation/credentials.ts';
import { writePolicies } from '../installation/policies.ts';
import { CREDIT } from '../models/credit-data.ts';
import { parseSplit, publishModel, type Split } from '../models/publish.ts';
import { readTerms } from '../models/terms.ts';
import { readDictionary, readRows } from '../models/test-sets.ts';
import { commitOnnx, commitTensors, type VendorModel } from '../models/vendor.ts';
import { vendorName, vendorSigner } from '../models/vendor-key.ts';
import { appendToLog, ownLog } from '../models/vendor-log.ts';
import { connect } from '../nats/connect.ts';
import { networked, type OptionsOf, TOPOLOGY_HELP, topology, whole } from './declaration.ts';
import { defineLint } from './model-lint.ts';
import { defineShow } from './model-show.ts';
import { isGguf, publishGguf } from './model-text.ts';
import { type Network, networkOf } from './network.ts';
import { type Print, print, say } from './terminal.ts';

const MAX_ONNX_BYTES = 64 * 1024 * 1024;
const PROVISIONER = 'host-1';

const declared = (command: Command) =>
  networked(command)
    .argument('<name>')
    .argument(
      '<file>',
      'ONNX: a classifier or regressor over the features of the data (vouch data features); or GGUF: a language model',
    )
    .option(
      '--dictionary <file>',
      'what the columns and classes of the data are (vouch data describe); default: those of German Credit',
    )
    .option('--data <file>', 'for ONNX: labelled rows: 70 % calibrate the integers, the rest is the test set')
    .option(
      '--tensors <file>',
      'for ONNX, instead of data: JSON of input tensors by name, samples that calibrate the integers; the answers are tensors then',
    )
    .option('--bits <n>', 'of each weight: fewer cost less and round more; default: 8', whole(4, 8))
    .option('--reveal <what>', TOPOLOGY_HELP, topology)
    .option(
      '--brokers <k/n>',
      'split the key: any k of n key-brokers (broker-1 to broker-n, or named: 2/a,b,c) give it back',
      '1/1',
    )
    .option(
      '--terms <file>',
      'JSON: what may be asked of it, and what answers hold; what it leaves out is the default',
    )
    .option('--template <file>', "for GGUF: a chat template (Jinja) instead of the file's own")
    .option('--tokenizer <file>', 'for GGUF: a tokenizer that an --upstream reads besides')
    .option(
      '--context <tokens>',
      'for GGUF: of prompt and answer together; default: 8192',
      whole(16, 2 ** 24),
    )
    .option('--json', 'one JSON object', false);

export function define(command: Command): void {
  defineLint(command);
  defineShow(command);
  declared(
    command
      .command('add')
      .description('publish an ONNX file: quantised, committed, sealed, its key with this host key-broker'),
  ).action((name, file, options) =>
    addModelCommand(name, file, { ...options, ...networkOf(options) }, print, say),
  );
}

export async function addModelCommand(
  name: string,
  file: string,
  options: Network & Omit<OptionsOf<typeof declared>, keyof Network>,
  print: Print,
  say: Log = () => {},
): Promise<void> {
  token(name, 'model');
  const split = parseSplit(options.brokers);
  if (await isGguf(file)) return addText(name, file, split, options, print, say);
  if ((options.data === undefined) === (options.tensors === undefined))
    throw new VouchError(
      'bad-input',
      'model add: expected --data FILE with labelled rows, or --tensors FILE with samples of the inputs',
    );
  refuse(options, ['template', 'tokenizer', 'context'], 'it is for language models (GGUF)');
  if (options.tensors !== undefined)
    refuse(options, ['dictionary', 'reveal'], 'tensors have no table and no trees');
  const terms = options.terms === undefined ? DEFAULT_TERMS : readTerms(options.terms);
  const onnx = readNamed(file, 'ONNX', MAX_ONNX_BYTES);
  const made =
    options.tensors === undefined
      ? await commitRows(name, onnx, { ...options, data: options.data! })
      : await commitTensors(name, onnx, readTensorSamples(options.tensors), options.bits);
  const { id, bus } = await asProvisioner(options, say);
  try {
    const { release } = await writePolicies();
    const vendor = await vendorSigner(say);
    // The log comes first: what the manifest names has to be there.
    const log =
      ownLog().length > 0
        ? await appendToLog(vendor, { kind: 'model', name, commitment: commit(made.model).toString() })
        : undefined;
    const { commitment, shares } = await publishModel(bus, `provisioner.${id}`, {
      name,
      model: made.model,
      policy: release,
      split,
      terms,
      vendor,
      log: log?.digest,
    });
    const told = 'testSet' in made ? countsOf(made) : { distance: made.error };
    const { fingerprint } = vendorName(vendor);
    const held = shares && `${shares.threshold} of ${shares.brokers.map((each) => each.id).join(', ')}`;
    if (options.json)
      print({
        name,
        commitment,
        ...told,
        ...(shares ? { shares } : {}),
        ...(log ? { log: log.digest } : {}),
        vendor: fingerprint,
      });
    else {
      print(
        `${name}\tcommitment ${commitment}\t${inWords(told)}${held ? `\tkey with ${held}` : ''}\tvendor ${fingerprint}`,
      );
    }
  } finally {
    await bus.close();
  }
}

/** Throws `bad-input` for options that would change nothing. */
function refuse(options: object, names: readonly string[], why: string): void {
  const given = names.find((name) => (options as Record<string, unknown>)[name] !== undefined);
  if (given) throw new VouchError('bad-input', `model add: --${given}: ${why}; leave it out`);
}

async function asProvisioner({ url, creds }: Network, say: Log) {
  const id = idIn(creds, 'provisioner') ?? PROVISIONER;
  return { id, bus: await connect({ url, creds: await credentials('provisioner', id, creds), warn: say }) };
}

async function addText(
  name: string,
  file: string,
  split: Split | undefined,
  options: Network & Omit<OptionsOf<typeof declared>, keyof Network>,
  print: Print,
  say: Log,
): Promise<void> {
  refuse(
    options,
    ['dictionary', 'data', 'tensors', 'bits', 'reveal', 'terms'],
    'a GGUF file is published without it',
  );
  const { id, bus } = await asProvisioner(options, say);
  try {
    const { release } = await writePolicies();
    const vendor = await vendorSigner(say);
    const offer = { name, policy: release, split, vendor };
    const { commitment } = await publishGguf(bus, `provisioner.${id}`, file, options, offer, say);
    const { fingerprint } = vendorName(vendor);
    if (options.json) print({ name, commitment, commitmentKind: 'hash', vendor: fingerprint });
    else
      print(
        `${name}\tcommitment ${commitment} (hash: identity of the files, nothing can be proved about them)\tvendor ${fingerprint}`,
      );
  } finally {
    await bus.close();
  }
}

/** What labelled rows and their dictionary make of a file. */
function commitRows(
  name: string,
  onnx: Uint8Array,
  options: Pick<OptionsOf<typeof declared>, 'dictionary' | 'bits' | 'reveal'> & { readonly data: string },
): Promise<VendorModel> {
  const dictionary = options.dictionary === undefined ? CREDIT : readDictionary(options.dictionary);
  return commitOnnx(name, onnx, readRows(options.data, dictionary), dictionary, {
    bits: options.bits,
    topology: options.reveal,
  });
}

const countsOf = ({ correct, baseline, testSet, error }: VendorModel) => ({
  rows: testSet.labels.length,
  ...(error ? { error } : { correct, baseline }),
});

function inWords(told: ReturnType<typeof countsOf> | { readonly distance: number }): string {
  if ('distance' in told)
    return `within ${told.distance.toPrecision(2)} of the file's own numbers on the samples`;
  if ('error' in told)
    return `off by ${told.error.model.toPrecision(3)} on average of ${told.rows} test rows, the best constant answer by ${told.error.constant.toPrecision(3)}`;
  return `${told.correct} of ${told.rows} test rows, a constant answer ${told.baseline}`;
}

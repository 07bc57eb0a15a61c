/**
 * `vouch replay`: asks what a kept answer in text was an answer to once more, of whoever serves the model now, and compares the
 * two. Both answers have receipts; what differs is said, not judged: engines of another build, or on another device, may
 * round otherwise.
 */
import type { Command } from '@commander-js/extra-typings';
import { VouchError } from '../../protocols/errors.ts';
import { parseReceipt, readReceipt } from '../../protocols/receipt.ts';
import { chat } from '../client/chat.ts';
import { keepText, readKeptText } from '../client/decisions.ts';
import { acquaint } from '../client/pins.ts';
import { createSessions } from '../client/sessions.ts';
import { demandWritableFolder, readNamed } from '../home/files.ts';
import { folder } from '../home/home.ts';
import type { Log } from '../home/log.ts';
import type { TextRequest } from '../inference/text-engine.ts';
import { kitOf } from '../installation/credentials.ts';
import { findPolicy } from '../installation/policies.ts';
import { type OptionsOf, pinning } from './declaration.ts';
import { asClient, type Network, networkOf } from './network.ts';
import { type Print, print, say } from './terminal.ts';
import { verifyCommand } from './verify.ts';

const MAX_BYTES = 16 * 1024 * 1024;

const declared = (command: Command) =>
  pinning(command)
    .argument('<receipt>', 'a receipt of an answer in text, in the folder where it was kept')
    .option(
      '--policy <name>',
      "what the enclave's evidence has to satisfy: genuine, strict or a file; default: this installation's",
    )
    .option('--receipts <folder>', 'where the second answer is kept; default: .vouch/receipts')
    .option('--json', 'one JSON object', false);

export const define = (command: Command) =>
  declared(command).action(async (file, options) => {
    if (!(await replayCommand(file, { ...options, ...networkOf(options) }, print, say))) process.exitCode = 1;
  });

/** Returns whether both say the same. Throws `receipt-rejected` where what was kept is not what the receipt is over. */
export async function replayCommand(
  file: string,
  options: Network & Pick<OptionsOf<typeof declared>, 'policy' | 'json' | 'vendor' | 'receipts'>,
  print: Print,
  say: Log = () => {},
): Promise<boolean> {
  const claims = readReceipt(parseReceipt(readNamed(file, 'receipt', MAX_BYTES)));
  if (!claims?.text) throw new VouchError('bad-file', `${file}: expected a receipt of an answer in text`);
  const kept = readKeptText(file, claims.id);
  const beside = (end: string) => file.replace(/[^/\\]*$/, `${claims.id}.${end}`);
  const { policy: named } = options;
  const own = { request: beside('json'), response: beside('json'), salts: beside('salts') };
  const demanded = { ...own, json: true, ...(named === undefined ? {} : { policy: named }) };
  const tied = await verifyCommand([file], demanded, () => {});
  if (!tied)
    throw new VouchError(
      'receipt-rejected',
      `${file}: it does not hold for what was kept beside it; see: vouch verify ${file} --request ${own.request} --response ${own.response} --salts ${own.salts}`,
    );
  const { question, model, answer } = kept;
  if (question.temperature > 0 && question.seed === undefined)
    throw new VouchError(
      'bad-input',
      `${file}: it was drawn at temperature ${question.temperature} without a seed, so nothing says what a second answer should be`,
    );
  const receipts = options.receipts ?? folder('receipts');
  await demandWritableFolder(receipts);
  const policy = findPolicy('inference', options.policy, kitOf(options.creds));
  return asClient(options, async (bus, source) => {
    const sessions = createSessions(bus, source, {
      policy,
      meet: (published) => acquaint(published, { vendor: options.vendor, policy, say }),
    });
    const stream = chat(sessions, { model, request: question as TextRequest });
    for await (const _ of stream);
    const again = await stream.receipt;
    const saved = await keepText(receipts, again);
    const now = again.report.claims!;
    const same =
      again.text === answer.text && JSON.stringify(again.toolCalls) === JSON.stringify(answer.toolCalls);
    const cut = claims.text!.finish === 'cancelled';
    const agrees = same || (cut && again.text.startsWith(answer.text));
    const differs = {
      enclave: now.enclave !== claims.enclave,
      evidence: now.evidence !== claims.evidence,
      model: now.modelCommitment !== claims.modelCommitment,
      engine: JSON.stringify(now.text?.engine) !== JSON.stringify(claims.text!.engine),
    };
    if (options.json) print({ same: agrees, differs, receipt: saved, receiptId: again.end.receiptId });
    else {
      const at = firstDifference(again.text, answer.text);
      print(`${agrees ? 'the same answer' : `another answer from character ${at} on`}\t${saved}`);
      print(`enclave\t${differs.enclave ? `another: ${now.enclave}` : `the same id: ${now.enclave}`}`);
      print(`model\t${differs.model ? `another commitment: ${now.modelCommitment}` : 'the same commitment'}`);
      const { name, version, build } = now.text!.engine;
      print(`engine\t${differs.engine ? `another: ${name} ${version} ${build}` : 'the same'}`);
    }
    return agrees;
  });
}

function firstDifference(one: string, other: string): number {
  let at = 0;
  while (at < one.length && one[at] === other[at]) at++;
  return at;
}

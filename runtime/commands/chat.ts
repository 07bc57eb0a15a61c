/**
 * `vouch chat`: a conversation in the terminal. The service's evidence is verified before the first word is sealed; each answer
 * is shown as it comes, and then what its receipt says. A line is a turn; the turns before are sent with each.
 */
import { createInterface } from 'node:readline';
import type { Command } from '@commander-js/extra-typings';
import { fromBase64url } from '../../protocols/encoding.ts';
import { vendorFingerprint } from '../../protocols/manifest.ts';
import { printableLines } from '../../protocols/printable.ts';
import { textArchitecture } from '../../protocols/weights.ts';
import { type ChatReceipt, chat } from '../client/chat.ts';
import { keepText } from '../client/decisions.ts';
import { acquaint } from '../client/pins.ts';
import { createSessions } from '../client/sessions.ts';
import { demandWritableFolder } from '../home/files.ts';
import { folder } from '../home/home.ts';
import type { Log } from '../home/log.ts';
import type { ChatMessage, TextRequest } from '../inference/text-engine.ts';
import { kitOf } from '../installation/credentials.ts';
import { findPolicy } from '../installation/policies.ts';
import { fraction, type OptionsOf, pinning, whole } from './declaration.ts';
import { asClient, type Network, networkOf } from './network.ts';
import { interruption, type Print, print, say } from './terminal.ts';

const declared = (command: Command) =>
  pinning(command)
    .argument('<model>')
    .option('--system <text>', 'what the model is told before the conversation')
    .option(
      '--max-tokens <n>',
      "tokens of an answer at most; default: the vendor's choice",
      whole(1, 1_000_000),
    )
    .option(
      '--temperature <t>',
      "0: always the likeliest word; up to 2; default: the vendor's choice",
      fraction(0, 2),
    )
    .option('--seed <n>', 'repeats a random answer on the same engine', whole(0, 2 ** 31 - 1))
    .option(
      '--policy <name>',
      "what the enclave's evidence has to satisfy: genuine, strict or a file; default: this installation's",
    )
    .option(
      '--receipts <folder>',
      'where each answer is kept for vouch verify FOLDER: receipt, question, answer, nonces, salts; default: .vouch/receipts',
    )
    .option('--json', 'one JSON object per answer, once it is whole', false);

export const define = (command: Command) =>
  declared(command).action((model, options) =>
    chatCommand(model, { ...options, ...networkOf(options) }, print, say),
  );

/** Ends at the end of stdin, or at Ctrl-C, which breaks off the answer that is under way. */
export async function chatCommand(
  model: string,
  options: Network & Omit<OptionsOf<typeof declared>, keyof Network>,
  print: Print,
  say: Log,
): Promise<void> {
  const { vendor, system, temperature, maxTokens, seed, json } = options;
  const kept = options.receipts ?? folder('receipts');
  await demandWritableFolder(kept);
  const policy = findPolicy('inference', options.policy, kitOf(options.creds));
  const signal = interruption();
  await asClient(options, async (bus, source) => {
    const client = createSessions(bus, source, {
      policy,
      meet: (published) => acquaint(published, { vendor, policy, say }),
    });
    const { manifest, report, document } = await client.service(model);
    const { defaults } = textArchitecture(manifest);
    const fingerprint = vendorFingerprint(fromBase64url(manifest.vendor, 'manifest.vendor'));
    say(
      `${model}: evidence of enclave ${document.enclave} accepted (${report.claims?.label}); model ${manifest.commitment.slice(0, 16)}… of vendor ${fingerprint.slice(0, 16)}…`,
    );
    const limits = {
      maxTokens: maxTokens ?? defaults.maxTokens,
      temperature: temperature ?? defaults.temperature,
      topP: defaults.topP,
      ...(seed === undefined ? {} : { seed }),
    };
    const messages: ChatMessage[] = system === undefined ? [] : [{ role: 'system', content: system }];

    const turn = async (request: TextRequest): Promise<void> => {
      const began = performance.now();
      let first = 0;
      let tokens = 0;
      const stream = chat(client, { model, request, signal });
      for await (const piece of stream) {
        first ||= performance.now();
        tokens += piece.tokens;
        if (!json) process.stdout.write(printableLines(piece.text));
      }
      if (!json) process.stdout.write('\n');
      const receipt = await stream.receipt;
      const file = await keepText(kept, receipt);
      const { text, end, report } = receipt;
      messages.push({ role: 'assistant', content: text });
      if (json) print({ text, ...shown(receipt), receipt: file });
      else
        say(
          `${report.claims?.label}, ${report.verdict}, ${end.finish}: ${end.promptTokens} and ${end.completionTokens} tokens, the first after ${Math.round(first - began)} ms, ${rate(tokens, performance.now() - first)} tokens/s; ${file}`,
        );
    };
    const lines = createInterface({ input: process.stdin, terminal: false });
    signal.addEventListener('abort', () => lines.close(), { once: true });
    const ask = () => process.stdin.isTTY && !signal.aborted && process.stderr.write('> ');
    ask();
    for await (const line of lines) {
      if (signal.aborted) break;
      if (line.trim() !== '') {
        messages.push({ role: 'user', content: line });
        await turn({ messages: [...messages], ...limits });
      }
      ask();
    }
  });
}

const shown = ({ end, report }: ChatReceipt) => ({
  finish: end.finish,
  promptTokens: end.promptTokens,
  completionTokens: end.completionTokens,
  verdict: report.verdict,
  evidence: report.claims?.label,
  receiptId: end.receiptId,
});

const rate = (tokens: number, ms: number): string => (ms > 0 ? ((1000 * tokens) / ms).toFixed(1) : '-');

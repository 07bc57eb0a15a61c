/**
 * A language model from its file to a verified answer, by the commands: vouch model add, the roles of vouch start with llama.cpp,
 * vouch verify and vouch replay. The model is tiny and knows nothing; that is enough to compare answers byte by byte.
 */
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { demandProvable } from '../../../protocols/manifest.ts';
import { type ChatStream, chat } from '../../../runtime/client/chat.ts';
import { infer, verifyService } from '../../../runtime/client/client.ts';
import { keepText } from '../../../runtime/client/decisions.ts';
import { acquaint } from '../../../runtime/client/pins.ts';
import { createSessions } from '../../../runtime/client/sessions.ts';
import { addModelCommand } from '../../../runtime/commands/model.ts';
import { showCommand } from '../../../runtime/commands/model-show.ts';
import { replayCommand } from '../../../runtime/commands/replay.ts';
import { type VerifyCommand, verifyCommand } from '../../../runtime/commands/verify.ts';
import { folder } from '../../../runtime/home/home.ts';
import { openLlama } from '../../../runtime/inference/llama-engine.ts';
import { LLAMA_VERSION } from '../../../runtime/inference/llama-package.ts';
import { readManifest } from '../../../runtime/models/obtain.ts';
import { startRoles, stopRoles } from '../../../runtime/roles/start.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import { startHome } from '../home/home-fixture.ts';
import { LLAMA_FOLDER, llamaOrSkip, tinyModel } from '../inference/llama-fixture.ts';
import { codeOf, temporaryFolder } from '../nats/nats-fixture.ts';
import { asked } from '../roles/chat-fixture.ts';

const test = suite('chat commands', { timeoutMs: 120_000 });

async function served(t: TestContext) {
  await llamaOrSkip(t);
  const home = await startHome(t);
  mkdirSync(folder('cache'), { recursive: true });
  try {
    symlinkSync(LLAMA_FOLDER, folder('cache', `llama-${LLAMA_VERSION}-cpu`));
  } catch {
    // it is there
  }
  const gguf = await tinyModel(t);
  const place = { url: home.server.url, creds: folder('creds') };
  const lines: string[] = [];
  const print = (line: unknown) => void lines.push(typeof line === 'string' ? line : JSON.stringify(line));
  await addModelCommand('talk', gguf, { ...place, brokers: '1/1', json: false, context: 256 }, print);
  const log: string[] = [];
  const start = async (id: string) => {
    const roles = await startRoles(['broker', 'runner', 'gpu', 'enclave'], {
      ...place,
      id,
      model: 'talk',
      threads: 1,
      log: (line) => void log.push(line),
    });
    t.defer(() => stopRoles(roles, () => {}));
    return roles;
  };
  return { ...home, serverLog: home.log, gguf, place, lines, print, log, start };
}

test('a GGUF file is published, served by llama.cpp, verified and replayed', async (t) => {
  const { gguf, place, lines, print, start, log, serverLog, bus, policies } = await served(t);
  assert.match(lines[0]!, 'hash');
  const first = await start('one');
  const client = await bus('client', 'one');
  const policy = policies.inference;
  const published = await readManifest(client, 'talk');
  showCommand('talk', published, { json: true }, print);
  assert.match(lines[1]!, '"commitmentKind":"hash"');
  const sessions = createSessions(client, 'client.one', {
    policy,
    meet: (manifest) => acquaint(manifest, { policy, say: () => {} }),
  });
  const request = asked('What is a bank?', { maxTokens: 24 });
  const stream = chat(sessions, { model: 'talk', request });
  let text = '';
  for await (const piece of stream) text += piece.text;
  const made = await stream.receipt;
  assert.equal([made.text, made.end.completionTokens, made.end.finish], [text, 24, 'length']);
  // The engine by itself says the very same.
  const engine = await openLlama({
    file: gguf,
    context: 256,
    threads: 1,
    folder: LLAMA_FOLDER,
    say: () => {},
  });
  t.defer(() => engine[Symbol.asyncDispose]());
  let direct = '';
  for await (const piece of engine.generate(request, new AbortController().signal)) direct += piece.text;
  assert.is(text, direct);

  // A secret that one client tells is in nobody else's answer: each is what an engine says that was never told it.
  const secret = 'the combination is 4711';
  const other = createSessions(await bus('client', 'two'), 'client.two', { policy, meet: () => {} });
  const told = chat(sessions, { model: 'talk', request: asked(secret, { maxTokens: 40 }) });
  const question = asked('What is the combination?', { maxTokens: 24 });
  const heard = chat(other, { model: 'talk', request: question });
  const read = async (stream: ChatStream) => {
    let all = '';
    for await (const piece of stream) all += piece.text;
    return all;
  };
  const [, answer] = await Promise.all([read(told), read(heard)]);
  const after = await read(chat(other, { model: 'talk', request: question }));
  let alone = '';
  for await (const piece of engine.generate(question, new AbortController().signal)) alone += piece.text;
  assert.equal([answer, after], [alone, alone]);
  assert.equal(
    [...log, ...serverLog].filter((line) => line.includes('4711')),
    [],
  );

  const receipts = await temporaryFolder(t);
  const receipt = await keepText(receipts, made);
  const kept = receipt.replace(/\.cose$/, '.json');
  const salts = receipt.replace(/\.cose$/, '.salts');
  const [chatFile, answerFile] = [join(receipts, 'chat.json'), join(receipts, 'answer.txt')];
  writeFileSync(chatFile, JSON.stringify(made.question));
  writeFileSync(answerFile, text);
  const verify = async (options: Partial<VerifyCommand>, file = receipt) => {
    const out: string[] = [];
    const accepted = await verifyCommand(
      [file],
      { json: false, ...options },
      (line) => void out.push(String(line)),
    );
    return { accepted, text: out.join('\n') };
  };
  const good = await verify({ request: chatFile, response: answerFile, salts });
  assert.ok(good.accepted, good.text);
  assert.match(good.text, /pass +receipt.request/);
  assert.match(good.text, /pass +receipt.response/);
  assert.match(good.text, 'the model commitment is a hash');
  assert.ok((await verify({ request: kept, response: kept, salts })).accepted);
  assert.ok((await verify({}, receipts)).accepted, 'a folder of kept answers');
  writeFileSync(answerFile, `${text}.`);
  assert.match((await verify({ response: answerFile, salts })).text, /fail +receipt.response/);
  writeFileSync(chatFile, JSON.stringify({ ...made.question, maxTokens: 25 }));
  assert.match((await verify({ request: chatFile, salts })).text, /fail +receipt.request/);
  assert.is(await codeOf(verify({ request: chatFile })), 'bad-input');

  // Another enclave answers the same.
  await stopRoles(first, () => {});
  await start('two');
  const again: unknown[] = [];
  assert.ok(
    await replayCommand(receipt, { ...place, json: true, receipts }, (line) => void again.push(line)),
  );
  const { same, differs } = again[0] as { same: boolean; differs: Record<string, boolean> };
  assert.equal([same, differs.enclave, differs.model, differs.engine], [true, true, false, false]);
  const changed = JSON.parse(readFileSync(kept, 'utf8'));
  writeFileSync(kept, JSON.stringify({ ...changed, answer: { text: 'another' } }));
  assert.is(
    await codeOf(replayCommand(receipt, { ...place, json: true, receipts }, () => {})),
    'receipt-rejected',
  );

  // Nothing about such a model can be proved, nor is it one of rows.
  assert.throws(() => demandProvable(published.manifest), /no statement can be proved/);
  const service = await verifyService(client, 'client.one', 'talk', policy);
  await infer(client, 'client.one', service, policy, ['1', '2']).then(
    () => assert.unreachable('it answered to a row'),
    (error: Error) => assert.match(error.message, /chat\.request/),
  );
});

test.run();

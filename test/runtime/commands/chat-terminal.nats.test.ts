/** `vouch chat` as a person has it: what comes on the terminal, what is kept, and who is talked to. */
import { folder, vouchHome } from '../../../runtime/home/home.ts';
import { assert, suite } from '../../harness.ts';
import { scriptedEngine } from '../inference/scripted-engine.ts';
import { temporaryFolder } from '../nats/nats-fixture.ts';
import { serveText } from '../roles/chat-fixture.ts';
import { start } from './cli-fixture.ts';

const test = suite('vouch chat', { timeoutMs: 90_000 });

test('a conversation: evidence first, answers as they come, receipts that verify, and nothing that moves a cursor', async (t) => {
  const seen: string[][] = [];
  const engine = scriptedEngine({
    say({ messages }) {
      seen.push(messages.map(({ role, content }) => `${role}: ${content}`));
      return ['Grüße', '\u001b[2J', ' 😀', `\nafter ${messages.length}`];
    },
  });
  const { server } = await serveText(t, engine);
  const receipts = await temporaryFolder(t);
  const network = ['--nats', server.url, '--creds', folder('creds')];
  const words = ['chat', 'chat', ...network, '--receipts', receipts, '--system', 'be kind', '--seed', '7'];
  const { code, stdout, stderr } = await start(vouchHome(), words, 'hello\n\nand again\n').ended;
  assert.is(code, 0, stderr);
  assert.is(stdout, 'Grüße [2J 😀\nafter 2\nGrüße [2J 😀\nafter 4\n');
  assert.equal(seen[1], [
    'system: be kind',
    'user: hello',
    'assistant: Grüße\u001b[2J 😀\nafter 2',
    'user: and again',
  ]);
  assert.match(stderr, /^chat: evidence of enclave e1 accepted \(SIMULATED\)/m);
  assert.is(stderr.match(/SIMULATED, accept, stop: \d+ and 4 tokens/g)?.length, 2);
  const kept = await start(vouchHome(), ['verify', receipts]).ended;
  assert.match(kept.stdout + kept.stderr, /2 of 2 receipts hold/);

  const json = await start(vouchHome(), ['chat', 'chat', ...network, '--json', '--max-tokens', '1'], 'hi\n')
    .ended;
  assert.is(json.code, 0, json.stderr);
  const said = JSON.parse(json.stdout);
  assert.equal([said.text, said.finish, said.verdict], ['Grüße', 'length', 'accept']);
});

test('Ctrl-C breaks an answer off, which has a receipt; an enclave that the policy does not allow hears nothing', async (t) => {
  const engine = scriptedEngine({
    async *say(_, signal) {
      while (!signal.aborted) {
        yield 'word ';
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    },
  });
  const { server } = await serveText(t, engine);
  const network = ['--nats', server.url, '--creds', folder('creds')];
  const chat = start(vouchHome(), ['chat', 'chat', ...network, '--max-tokens', '900000'], 'go on\n');
  await chat.shows(/word word/);
  chat.interrupt();
  const { stderr } = await chat.ended;
  assert.match(stderr, /SIMULATED, accept, cancelled: /);
  assert.is(engine.stopped(), 1);

  const before = engine.said();
  const strict = ['chat', 'chat', ...network, '--policy', 'genuine'];
  const refused = await start(vouchHome(), strict, 'my secret\n').ended;
  assert.is.not(refused.code, 0);
  assert.match(refused.stderr, /rejected/);
  assert.is(engine.said(), before);
  const nobody = await start(vouchHome(), ['chat', 'nobody', ...network], 'x\n').ended;
  assert.match(nobody.stderr, /nobody has published/);
});

test.run();

/** Frames of a chat that wait for their reader. On the other side: whoever runs the server, and sends as many as he likes. */
import type { VouchError } from '../../../protocols/errors.ts';
import { createInbox } from '../../../runtime/client/chat.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('chat: frames that wait');

const MIB = 2 ** 20;
function filled(frames: number, bytes: number) {
  let failures = 0;
  const inbox = createInbox(() => failures++);
  const data = new Uint8Array(bytes);
  const put = (count: number) => {
    for (let i = 0; i < count; i++) inbox.put({ subject: 's', headers: {}, data, reply: undefined });
  };
  put(frames);
  return { inbox, put, failures: () => failures };
}
/** How many frames are taken, and what ends it. */
async function emptied(inbox: ReturnType<typeof createInbox>): Promise<[number, string]> {
  for (let count = 0; ; count++) {
    const error = await inbox.take(0).then(
      () => undefined,
      ({ code, message }: VouchError) => `${code}: ${message}`,
    );
    if (error !== undefined) return [count, error];
  }
}

test('so many frames and bytes wait, and one more ends it with a sentence; what came before is still read', async () => {
  for (const [most, bytes, told] of [
    [4096, 10, '4096 frames of 40960 bytes'],
    [64, MIB, '64 frames of 67108864 bytes'],
  ] as const) {
    const { inbox, put, failures } = filled(most, bytes);
    assert.is(failures(), 0);
    put(100);
    assert.is(failures(), 1);
    assert.equal(await emptied(inbox), [
      most,
      `too-large: chat: ${told} wait to be read, and more come; ask again`,
    ]);
  }
});

test('a frame is as long as a message at most', async () => {
  const { inbox, failures } = filled(1, MIB + 1);
  assert.is(failures(), 1);
  assert.equal(await emptied(inbox), [
    0,
    'too-large: chat: expected frames of at most 1048576 bytes, got 1048577; ask again',
  ]);
  assert.match((await emptied(filled(1, MIB).inbox)).join(), /^1,timeout/);
});

test('what was read makes room', async () => {
  const { inbox, put, failures } = filled(64, MIB);
  for (let i = 0; i < 200; i++) {
    await inbox.take(0);
    put(1);
  }
  assert.is(failures(), 0);
});

test('the first failure counts', async () => {
  const { inbox, put, failures } = filled(1, 1);
  inbox.fail(new Error('lost'));
  inbox.fail(new Error('again'));
  put(5000);
  assert.is(failures(), 1);
  assert.match((await emptied(inbox)).join(), /^1,undefined: lost$/);
});

test.run();

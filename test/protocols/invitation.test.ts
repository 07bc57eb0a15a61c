import {
  decodeInvitation,
  encodeInvitation,
  type Invitation,
  isInvitation,
} from '../../protocols/invitation.ts';
import { assert, suite } from '../harness.ts';

const test = suite('invitation');

const SEED = `SU${'A'.repeat(56)}`;
const sample: Invitation = {
  version: 1,
  servers: ['tls://192.0.2.7:4222', 'tls://[2001:db8::1]:4222', 'nats://gpu1.example:4222'],
  jwt: [1, 2, 3].map((n) => new Uint8Array(40).fill(n)),
  seed: SEED,
  authority: new Uint8Array(300).fill(7),
  platform: '{"secret":"platform"}',
};

const refusal = (text: string): { code: string; message: string } => {
  try {
    decodeInvitation(text);
  } catch (error) {
    return error as { code: string; message: string };
  }
  throw new Error('it was read');
};

test('what was written is read, with blanks around it too, and is known by its beginning', () => {
  const link = encodeInvitation(sample);
  assert.ok(isInvitation(link));
  assert.match(link, /^vouch-join:[\w-]+$/, 'one word for a shell');
  assert.equal(decodeInvitation(`  ${link}\n`), sample);
});

test('cut off, damaged, or something else: one sentence that quotes nothing of it', () => {
  const link = encodeInvitation(sample);
  const wrong = [
    '',
    'vouch-join:',
    link.slice(1),
    link.slice(0, -1),
    link.slice(0, 200),
    `${link}A`,
    `${link} ${link}`,
    `vouch-join:${'A'.repeat(1 << 20)}`,
    // A shape that is not this version's, servers that are none, and a seed of another kind.
    ...[
      { version: 2 },
      { servers: [] },
      { servers: ['http://192.0.2.7'] },
      { servers: ['tls://a b'] },
      { seed: `SA${'A'.repeat(56)}` },
      { jwt: [] },
      { extra: 1 },
    ].map((change) => encodeInvitation({ ...sample, ...change } as Invitation)),
  ];
  for (const text of wrong) {
    const { code, message } = refusal(text);
    assert.is(code, 'bad-input', text.slice(0, 60));
    assert.match(message, /ask for a new one$/);
    assert.not.ok(message.includes('AAAA') || message.includes(link.slice(11, 31)), message);
  }
});

test.run();

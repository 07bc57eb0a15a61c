import { z } from 'zod';
import { utf8 } from '../../protocols/encoding.ts';
import {
  decodeHeader,
  decodeMessage,
  decodeOneOf,
  ErrorReply,
  encodeHeader,
  encodeMessage,
  MAX_HEADER_BYTES,
  MAX_MESSAGE_BYTES,
  messageType,
  RemoteError,
} from '../../protocols/envelope.ts';
import { VouchError } from '../../protocols/errors.ts';
import { toWireError } from '../../protocols/wire-error.ts';
import { seededRandom } from '../../runtime/models/random.ts';
import { assert, suite } from '../harness.ts';

const test = suite('envelope');

const Ping = messageType('ping', 1, z.object({ count: z.int().min(0), note: z.string().optional() }));
const Pong = messageType('pong', 1, z.object({ count: z.int() }));
const SUBJECT = 'vouch.v1.evidence.m';
const outgoing = { subject: SUBJECT, source: 'client.c1', body: { count: 1 } };
const good = () => JSON.parse(encodeHeader(Ping, outgoing)) as Record<string, unknown>;
const bytes = (value: unknown) => utf8(JSON.stringify(value));

function refused(code: string, work: () => unknown): VouchError {
  try {
    work();
  } catch (error) {
    assert.instance(error, VouchError);
    assert.is((error as VouchError).code, code, (error as VouchError).message);
    return error as VouchError;
  }
  return assert.unreachable(`expected ${code}`) as never;
}

test('a message comes back as it was sent, as payload and as header', () => {
  const more = { ...outgoing, cause: 'cause-1', epoch: 3, id: 'id-1', time: '2026-07-01T12:00:00Z' };
  for (const message of [
    decodeMessage(Ping, SUBJECT, encodeMessage(Ping, more)),
    decodeHeader(Ping, SUBJECT, encodeHeader(Ping, more)),
    decodeOneOf([Pong, Ping] as const, SUBJECT, encodeMessage(Ping, more)).message,
    decodeOneOf([Ping, Pong] as const, SUBJECT, encodeHeader(Ping, more)).message,
  ]) {
    assert.equal(message, { type: 'ping', version: 1, ...more });
  }
  const plain = decodeMessage(Ping, null, encodeMessage(Ping, outgoing));
  assert.match(plain.id, /^[0-9a-f-]{36}$/);
  assert.is(plain.cause, undefined);
});

test('unknown fields are ignored; the order of fields and white space do not matter', () => {
  const message = { ...good(), weather: 'fine', body: { count: 1, colour: 'blue' } };
  const turned = Object.fromEntries(Object.entries(message).reverse());
  const { body } = decodeMessage(Ping, SUBJECT, utf8(JSON.stringify(turned, null, 2)));
  assert.equal(body, { count: 1 });
});

test('a message on another subject than its own is refused, a reply is not', () => {
  refused('bad-message', () => decodeMessage(Ping, `${SUBJECT}x`, bytes(good())));
  refused('bad-message', () => decodeHeader(Ping, 'vouch.v1.evidence', JSON.stringify(good())));
  decodeMessage(Ping, null, bytes(good()));
});

test('the type, and then the version, have to be those expected', () => {
  const { message } = refused('bad-message', () => decodeMessage(Pong, SUBJECT, bytes(good())));
  assert.match(message, /pong, got ping/);
  for (const version of [2, 999]) {
    const { message: text } = refused('bad-version', () =>
      decodeMessage(Ping, SUBJECT, bytes({ ...good(), version })),
    );
    assert.match(text, new RegExp(`version 1, the message is version ${version}`));
  }
  // A body of a later version is not looked at.
  refused('bad-version', () => decodeMessage(Ping, SUBJECT, bytes({ ...good(), version: 2, body: 'new' })));
});

test('every field of the envelope is checked', () => {
  const wrong: Record<string, unknown[]> = {
    id: [undefined, '', 'a b', 'x'.repeat(65), 7],
    type: [undefined, 'x'.repeat(65), null],
    version: [undefined, 0, -1, 1.5, '1'],
    source: [undefined, 'client', 'client.', '.c1', 'client.c1.x', 'client.c 1', 'x'.repeat(131)],
    time: [undefined, 'yesterday', '2026-07-01', '2026-07-01T12:00:00+02:00', 1],
    subject: [undefined, 5, 'x'.repeat(401)],
    cause: ['', 'a.b', null],
    epoch: [-1, 0.5, '1', null],
    body: [undefined, null, 5, { count: -1 }, { count: '1' }, { count: 2 ** 53 }, {}],
  };
  for (const [field, values] of Object.entries(wrong)) {
    for (const value of values) {
      const { message } = refused('bad-message', () =>
        decodeMessage(Ping, SUBJECT, bytes({ ...good(), [field]: value })),
      );
      assert.match(message, field === 'body' ? /^(ping|envelope\.body)/ : new RegExp(`^envelope\\.${field}`));
    }
  }
});

test('what is no JSON object is refused, and its text is not repeated', () => {
  for (const text of ['', '{', 'null', '[]', '"x"', '5', '\ufeff{}', 'hunter2', '{"id":"hunter2"}']) {
    const { message } = refused('bad-message', () => decodeMessage(Ping, SUBJECT, utf8(text)));
    assert.not.match(message, /hunter2/);
    refused('bad-message', () => decodeHeader(Ping, SUBJECT, text));
    refused('bad-message', () => decodeOneOf([Ping, Pong] as const, SUBJECT, utf8(text)));
  }
  refused('bad-message', () => decodeHeader(Ping, SUBJECT, undefined));
  // Two bytes that are no UTF-8, inside a string.
  const invalid = bytes({ ...good(), body: { count: 1, note: '??' } });
  invalid.set([0xc3, 0x28], invalid.indexOf(0x3f));
  refused('bad-message', () => decodeMessage(Ping, SUBJECT, invalid));
});

test('sizes are checked before anything is parsed, and when sending', () => {
  const large = utf8(' '.repeat(MAX_MESSAGE_BYTES + 1));
  refused('too-large', () => decodeMessage(Ping, SUBJECT, large));
  refused('too-large', () => decodeOneOf([Ping, Pong] as const, SUBJECT, large));
  refused('too-large', () => decodeHeader(Ping, SUBJECT, ' '.repeat(MAX_HEADER_BYTES + 1)));
  const body = { count: 1, note: 'x'.repeat(MAX_MESSAGE_BYTES) };
  refused('too-large', () => encodeMessage(Ping, { ...outgoing, body }));
});

test('a body that is not of the type is not sent, and unknown fields are not either', () => {
  refused('bad-message', () => encodeMessage(Ping, { ...outgoing, body: { count: -1 } }));
  const sent = decodeMessage(
    Ping,
    SUBJECT,
    encodeMessage(Ping, { ...outgoing, body: { count: 1, secret: 2 } as never }),
  );
  assert.equal(sent.body, { count: 1 });
});

test('an error reply becomes an error here; on a subject it is of the wrong type', () => {
  const reply = (body: object, version = 1) =>
    bytes({
      ...good(),
      type: 'error',
      version,
      body: { message: 'm', errorId: 'e-1', retryable: true, ...body },
    });
  const known = refused('busy', () => decodeMessage(Ping, null, reply({ code: 'busy' }))) as RemoteError;
  assert.instance(known, RemoteError);
  assert.equal([known.message, known.errorId, known.retryable], ['m', 'e-1', true]);
  // A code of a newer sender: what counts is whether it says that one may try again.
  const unknown = (retryable: boolean) =>
    refused('internal', () => decodeMessage(Ping, null, reply({ code: 'on-fire', retryable })));
  assert.equal([unknown(true).retryable, unknown(false).retryable], [true, false]);
  for (const code of ['toString', '__proto__']) {
    refused('internal', () => decodeMessage(Ping, null, reply({ code })));
  }
  const printed = refused('busy', () =>
    decodeMessage(Ping, null, reply({ code: 'busy', message: 'a\u001b[2J\r\nb' })),
  );
  assert.is(printed.message, 'a [2J b', 'nothing that a terminal would obey');
  refused('bad-message', () => decodeMessage(Ping, null, reply({ code: 7 })));
  refused('bad-message', () => decodeMessage(Ping, SUBJECT, reply({ code: 'busy' })));
  refused('bad-version', () => decodeMessage(Ping, null, reply({ code: 'busy' }, 2)));
  assert.is(decodeMessage(ErrorReply, null, reply({ code: 'busy' })).body.code, 'busy');
});

test('an error of ours travels with its words, any other without', () => {
  const ours = toWireError(new VouchError('bad-input', `row: ${'x'.repeat(2000)}`), 'e-1');
  assert.equal([ours.code, ours.retryable, ours.message.length], ['bad-input', false, 1000]);
  const theirs = toWireError(new Error('password is hunter2'), 'e-2');
  assert.equal(theirs, {
    code: 'internal',
    message: 'the request failed inside the service',
    errorId: 'e-2',
    retryable: true,
  });
});

test('one of several types is chosen by the name it bears, wherever that stands', () => {
  const kinds = [Ping, Pong] as const;
  const pong = { ...good(), type: 'pong' };
  // Sorted names put the body first, and a body may name a type of its own.
  const sorted = { body: { count: 2, type: 'ping' }, ...pong };
  for (const message of [pong, sorted]) {
    for (const indent of [0, 2]) {
      const found = decodeOneOf(kinds, SUBJECT, utf8(JSON.stringify(message, null, indent)));
      assert.is(found.kind, Pong);
    }
  }
  assert.match(
    refused('bad-message', () => decodeOneOf(kinds, SUBJECT, bytes({ ...good(), type: 'other' }))).message,
    /pong, got other/,
  );
  refused('bad-version', () => decodeOneOf(kinds, SUBJECT, bytes({ ...pong, version: 2 })));
  refused('busy', () =>
    decodeOneOf(
      kinds,
      null,
      encodeMessage(ErrorReply, { ...outgoing, body: toWireError(new VouchError('busy', 'b'), 'e') }),
    ),
  );
});

test('whatever is cut out of a message or changed in it is decoded or refused, never anything else', () => {
  const random = seededRandom(5);
  const data = encodeMessage(Ping, { ...outgoing, cause: 'c', epoch: 1, body: { count: 3, note: 'ä"\\' } });
  let refusals = 0;
  for (let round = 0; round < 3000; round++) {
    const changed = data.slice();
    for (let i = random.below(3); i >= 0; i--) changed[random.below(changed.length)] = random.below(256);
    const part = changed.subarray(random.below(8) === 0 ? random.below(changed.length) : 0);
    try {
      const { body } = decodeMessage(Ping, SUBJECT, part);
      assert.type(body.count, 'number');
    } catch (error) {
      assert.instance(error, VouchError, String(error));
      refusals++;
    }
  }
  assert.ok(refusals > 2000, `${refusals}`);
});

test.run();

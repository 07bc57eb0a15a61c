/** What may leave of an answer whose tokens are not text: pieces, put together, are the whole, and none is half a letter. */
import * as fc from 'fast-check';
import { eventsOf } from '../../../runtime/inference/event-stream.ts';
import { firstOf, tokenOutlet, undecided } from '../../../runtime/inference/text-outlet.ts';
import { toolCallsIn } from '../../../runtime/inference/tool-calls.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('text outlet');
const decode = (tokens: readonly Uint8Array[]) =>
  new TextDecoder('utf-8', { ignoreBOM: true }).decode(Buffer.concat(tokens));

test('whatever bytes the tokens hold, the pieces together are the decoded whole, and whole letters each', () => {
  const letters = fc
    .constantFrom('a', 'é', '€', '😀', '\uFFFD', '\u0800')
    .map((letter) => Buffer.from(letter));
  const junk = fc.uint8Array({ minLength: 1, maxLength: 3 }).map((bytes) => Buffer.from(bytes));
  const runs = fc.array(fc.oneof(letters, letters, junk), { maxLength: 80 }).chain((parts) => {
    const bytes = Buffer.concat(parts);
    return fc
      .array(fc.integer({ min: 1, max: 3 }), { minLength: bytes.length, maxLength: bytes.length })
      .map((sizes) => {
        const tokens: Uint8Array[] = [];
        for (let at = 0, i = 0; at < bytes.length; at += sizes[i]!, i++)
          tokens.push(bytes.subarray(at, at + sizes[i]!));
        return tokens;
      });
  });
  fc.assert(
    fc.property(runs, (tokens) => {
      const outlet = tokenOutlet(decode);
      const pieces = [...tokens.map((token) => outlet.push(token)), outlet.flush()];
      assert.is(pieces.join(''), decode(tokens));
      assert.ok(pieces.every((piece) => piece.isWellFormed()));
    }),
    { numRuns: 500 },
  );
});

test('a long run of broken bytes leaves as it comes, and is not decoded again from its beginning', () => {
  let longest = 0;
  const outlet = tokenOutlet<Uint8Array>((tokens) => {
    longest = Math.max(longest, tokens.length);
    return decode(tokens);
  });
  const pieces = Array.from({ length: 1000 }, () => outlet.push(Uint8Array.of(0xc2)));
  assert.is(pieces.join('') + outlet.flush(), '\uFFFD'.repeat(1000));
  assert.ok(longest < 50, `${longest} tokens at once`);
});

test('text that may still become a stop string is held back, no more than that', () => {
  assert.is(undecided('hello <', ['<|end|>', 'never']), 1);
  assert.is(undecided('hello <|en', ['<|end|>']), 4);
  assert.is(undecided('hello <|x', ['<|end|>']), 0);
  assert.is(undecided('aab', ['abab']), 2);
  assert.is(firstOf('one two three', ['three', 'two', 'four']), 4);
  assert.is(firstOf('one', []), -1);
});

test('calls of tools are read where the text is nothing but calls', () => {
  const one = '<tool_call>\n{"name": "weather", "arguments": {"city": "Ulm"}}\n</tool_call>';
  const [call] = toolCallsIn(one)!;
  assert.equal(call!.function, { name: 'weather', arguments: '{"city":"Ulm"}' });
  assert.is(toolCallsIn(`${one}\n${one}`)!.length, 2);
  for (const text of [
    '',
    'text',
    `${one} and text`,
    '<tool_call>{"name": 3}</tool_call>',
    '<tool_call>{</tool_call>',
    one.slice(0, -4),
  ])
    assert.is(toolCallsIn(text), undefined, text);
});

test('events are read however their bytes are cut, and an end without [DONE] is told from one with', async () => {
  const text =
    'data: {"a":"é😀"}\n\n: comment\r\nevent: x\r\ndata: {"b":1}\r\n\r\ndata: [DONE]\n\ndata: late\n\n';
  for (const size of [1, 2, 3, 7, 1000]) {
    const read = async (source: string) => {
      const bytes = Buffer.from(source);
      const events = eventsOf(
        (async function* () {
          for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
        })(),
      );
      const data: string[] = [];
      for (;;) {
        const next = await events.next();
        if (next.done) return { data, done: next.value };
        data.push(next.value);
      }
    };
    assert.equal(await read(text), { data: ['{"a":"é😀"}', '{"b":1}'], done: true });
    assert.is((await read(text.slice(0, 60))).done, false);
  }
});

test.run();

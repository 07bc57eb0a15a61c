import { readFileSync } from 'node:fs';
import { assert, suite } from '../../harness.ts';
import { REFERENCE, reference } from './reference.ts';

const test = suite('command reference');

test('docs/COMMANDS.md says what the commands themselves say', async () => {
  const fresh = await reference();
  const kept = readFileSync(REFERENCE, 'utf8').split('\n');
  const line = fresh.split('\n').findIndex((text, i) => text !== kept[i]);
  if (line >= 0 || kept.length !== fresh.split('\n').length)
    assert.unreachable(`docs/COMMANDS.md is stale at line ${line + 1}; run: npm run commands`);
});

test('every option and argument says what it is for', async () => {
  for (const [, options] of (await reference()).matchAll(/Options:\n([\s\S]*?)(?:\n\n|\n```)/g))
    for (const line of options!.split('\n')) assert.match(line, /^ {2,}(-.*\S {2,}\S|\S)/, line);
});

test.run();

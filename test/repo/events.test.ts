/** Every event that a machine understands is sent by something that ships, and no machine is reached into. */
import { assert, suite } from '../harness.ts';
import { projectFiles, read } from './sources.ts';

const test = suite('events');

const sources = projectFiles().filter((path) => path.endsWith('.ts'));
const actors = sources.filter((path) => path.startsWith('actors/'));
const shipped = sources.filter((path) => /^(actors|runtime)\//.test(path));

/** The types of a machine's public events: those of `export type <Name>Event = ...;`. */
function eventsOf(source: string): string[] {
  const unions = [...source.matchAll(/^export type \w+Event =([\s\S]*?);\n\n/gm)].map(([, union]) => union!);
  return unions.flatMap((union) => [...union.matchAll(/type: '([a-z]+\.[a-z]+)'/g)].map(([, type]) => type!));
}

test('the events of every machine are found', () => {
  const found = new Map(actors.map((path) => [path, eventsOf(read(path))]));
  for (const path of actors.filter((path) => /\.createMachine\(/.test(read(path))))
    assert.ok(found.get(path)!.length > 0, `${path} has no event type`);
  assert.ok(found.get('actors/msm-worker.ts')!.includes('worker.suspend'));
});

test('an event that a machine understands is sent by something outside its own file and outside tests', () => {
  const dead = actors.flatMap((path) =>
    eventsOf(read(path))
      .filter((type) => !shipped.some((other) => other !== path && read(other).includes(`'${type}'`)))
      .map((type) => `${path}: ${type}`),
  );
  assert.equal(dead, []);
});

test("no underscore field of XState's is used", () => {
  const broken = shipped.filter((path) => /\._[a-zA-Z]/.test(read(path)));
  assert.equal(broken, []);
});

test.run();

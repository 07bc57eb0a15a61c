/** The repository's habits, as far as a program can read them. */
import { assert, suite } from '../harness.ts';
import { findTests } from '../runner/discovery.ts';
import { importsOf, packageOf, projectFiles, ROOT, read } from './sources.ts';

const test = suite('habits');

const files = projectFiles();
const sources = files.filter((path) => path.endsWith('.ts') || path.endsWith('.mjs'));
const shipped = sources.filter((path) => !path.startsWith('test/'));
const text = files.filter((path) =>
  /\.(ts|mjs|json|md|conf|circom|html|css|sh|yml)$|^\.ci\/|^\.[a-z]+rc$/.test(path),
);

function none(broken: readonly string[], rule: string): void {
  if (broken.length > 0) throw new Error(`${rule}:\n${broken.join('\n')}`);
}

/** "path:line" of every line that matches. */
function lines(paths: readonly string[], pattern: RegExp): string[] {
  return paths.flatMap((path) =>
    read(path)
      .split('\n')
      .flatMap((line, index) =>
        pattern.test(line) ? [`${path}:${index + 1}: ${line.trim().slice(0, 100)}`] : [],
      ),
  );
}

test('source files are kebab-case nouns', () => {
  none(
    sources.filter(
      (path) =>
        !/^[a-z0-9]+(-[a-z0-9]+)*(\.(test|d|nats|prover|gpu|browser|slow|pure))*\.(ts|mjs)$/.test(
          path.split('/').at(-1)!,
        ),
    ),
    'not kebab-case',
  );
  none(
    files.filter((path) => /(^|\/)(utils?|helpers?|misc|common)(\.|\/|$)/i.test(path)),
    'a name that says nothing',
  );
});

test('there is no default export and no interface called IThing', () => {
  none(lines(sources, /^export default\b/), 'a default export');
  none(lines(sources, /^(export )?(interface|type) I[A-Z][a-z]/), 'an I prefix');
});

test('only erasable syntax: Node strips types, it does not compile', () => {
  none(lines(sources, /^\s*(export )?(declare )?(const )?(enum|namespace) \w+ *\{/), 'an enum or namespace');
});

test('every module opens with a comment that says what it is for', () => {
  none(
    shipped.filter((path) => !path.endsWith('.d.ts') && !/^(#!.*\n)?(\/\*\*|\/\/)/.test(read(path))),
    'no opening comment',
  );
});

/** Lines; a file that has more says in its opening comment why it is one. */
const LONG = 400;
const REASON = /\bOne file, although it is long: \S+ \S+/;
test(`a file above ${LONG} lines says why it is one`, () => {
  const long = sources.filter((path) => read(path).split('\n').length - 1 > LONG);
  none(
    long.filter((path) => !REASON.test(openingComment(read(path)))),
    'split it, or write "One file, although it is long: ..." into its opening comment',
  );
});

function openingComment(source: string): string {
  const [, comment] = /^(?:#!.*\n)?(\/\*\*[\s\S]*?\*\/|(?:\/\/.*\n)+)/.exec(source) ?? [];
  return (comment ?? '').replace(/\n \* */g, ' ');
}

test('every test file runs its tests and uses the harness', () => {
  const tests = findTests(`${ROOT}test`).map(({ path }) => path.slice(ROOT.length));
  none(
    tests.filter((path) => !/^\w+\.run\(\);$/m.test(read(path))),
    'no test.run()',
  );
  none(
    tests.filter((path) => importsOf(path).some(({ specifier }) => packageOf(specifier) === 'uvu')),
    'uvu without the harness has no time limit',
  );
});

test('subjects are spelled in protocols/subjects.ts and nowhere else', () => {
  none(
    lines(
      shipped.filter((path) => path !== 'protocols/subjects.ts'),
      /['"`]vouch\.v\d/,
    ),
    'a subject literal',
  );
});

test("each of BN254's two primes is spelled once", () => {
  for (const [start, home] of [
    ['2188824287183927522224640574525727508854', 'protocols/bn254.ts'],
    ['2188824287183927522224640574525727508869', 'circuits/groth16/field.ts'],
  ] as const) {
    none(
      lines(
        shipped.filter((path) => path !== home),
        new RegExp(start),
      ),
      `import it from ${home}`,
    );
  }
});

/** Folders of the system, programs that are fetched, and a compiler's own folder, which goes with it. */
const WRITERS =
  /^runtime\/(home|passthrough)\/|^runtime\/(attest\/configfs-tsm|inference\/llama-package|nats\/server-program|prove\/circuit-compiler)\.ts$/;

test('files are written through runtime/home/files.ts, which says in words what the system refuses', () => {
  const runtime = shipped.filter((path) => /^runtime\/.*\.ts$/.test(path));
  const writing =
    /^import .*\b(writeFile|appendFile|mkdir|rename|rm|open|copyFile|link)(Sync)?\b.* from 'node:fs/;
  none(
    lines(
      runtime.filter((path) => !WRITERS.test(path)),
      writing,
    ),
    'it writes by itself',
  );
  none(lines(runtime, /\bmkdir(Sync)?\(.*recursive/), 'it never returns below /proc: use makeFolder');
});

test('nothing secret is committed', () => {
  const secret = new RegExp(
    [
      '-----BEGIN [A-Z ]*PRIVATE KEY',
      '\\bS[NCOUAX][A-Z2-7]{56}\\b', // NATS seed
      '\\bAKIA[0-9A-Z]{16}\\b',
      '\\b(ghp|gho|ghs|npm)_[A-Za-z0-9]{36}\\b',
      '-----BEGIN (NATS USER JWT|USER NKEY SEED)',
    ].join('|'),
  );
  none(
    lines(
      text.filter((path) => path !== 'test/repo/habits.test.ts'),
      secret,
    ),
    'a secret',
  );
  none(
    files.filter((path) => /\.(creds|nk|pem|key|seed)$|(^|\/)\.vouch\//.test(path)),
    'a key file',
  );
});

test("no path of somebody's machine", () => {
  none(lines(text, /(?<![\w.*~-])\/(home|root|Users|work)\/[\w.-]/), 'an absolute path');
});

test('nothing is left for later without a word in the documents', () => {
  none(lines(shipped, /\b(TODO|FIXME|XXX|HACK)\b/), 'an open end');
});

test('the licence is the one that package.json names', () => {
  assert.is(JSON.parse(read('package.json')).license, 'GPL-3.0-or-later');
  const licence = read('LICENSE');
  assert.match(licence, 'GNU GENERAL PUBLIC LICENSE');
  assert.match(licence, 'Version 3, 29 June 2007');
  assert.match(licence, 'END OF TERMS AND CONDITIONS');
});

test('documents are where the README and newcomers look for them', () => {
  for (const path of [
    'README.md',
    'SECURITY.md',
    'CONTRIBUTING.md',
    'docs/PROTOCOL.md',
    'docs/DECISIONS.md',
  ]) {
    assert.ok(files.includes(path), `${path} is missing`);
  }
});

test('a source file that a comment or a document names is there', () => {
  const isNamed = (name: string) => (path: string) => path === name || path.endsWith(`/${name}`);
  const broken = files
    .filter((path) => /\.(ts|mjs|md)$/.test(path))
    .flatMap((path) =>
      read(path)
        .split('\n')
        // Comments that stand in lines of their own.
        .filter((line) => path.endsWith('.md') || /^\s*(\/\*\*|\*|\/\/) /.test(line))
        .flatMap((line) => [
          ...line.matchAll(/(?<![\w./-])(?:[a-z0-9-]+\/)*[a-z0-9][a-z0-9.-]*\.(?:ts|mjs)\b/g),
        ])
        .filter(([name]) => !sources.some(isNamed(name)))
        .map(([name]) => `${path}: ${name}`),
    );
  none(broken, 'there is no such file');
});

test('links between documents lead somewhere', () => {
  const known = new Set(files);
  const folders = new Set(
    files.flatMap((path) => path.split('/').map((_, index, parts) => parts.slice(0, index).join('/'))),
  );
  const broken = files
    .filter((path) => path.endsWith('.md'))
    .flatMap((path) =>
      [...read(path).matchAll(/\]\((?!https?:|mailto:|#)([^)\s#]+)/g)]
        .map((match) => new URL(match[1]!, `file:///${path}`).pathname.slice(1).replace(/\/$/, ''))
        .filter((target) => !known.has(target) && !folders.has(target))
        .map((target) => `${path}: ${target}`),
    );
  none(broken, 'a dead link');
});

test.run();

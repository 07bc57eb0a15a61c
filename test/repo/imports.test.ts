/** Who may import whom: the rules that keep the parts apart, read from the imports of every source file. */
import { isBuiltin } from 'node:module';
import { assert, suite } from '../harness.ts';
import { type Import, importsOf, packageOf, projectFiles, read } from './sources.ts';

const test = suite('imports');

/**
 * Folder -> the folders and packages that it may import besides itself. Only runtime and test are free. zod is
 * everywhere because messages, files and contexts alike have schemas.
 */
const HOUSE: Record<string, { folders: string[]; packages: string[] }> = {
  protocols: {
    folders: [],
    packages: [
      'zod',
      'cborg',
      '@hpke/core',
      '@noble/curves',
      '@noble/hashes',
      '@noble/post-quantum',
      'nkeys.js',
    ],
  },
  circuits: {
    folders: ['protocols'],
    packages: ['zod', 'cborg', 'protobufjs', '@noble/curves', '@noble/hashes'],
  },
  actors: { folders: ['protocols'], packages: ['zod', 'xstate'] },
};

/**
 * The rooms of runtime/, lowest floor first. A room imports its own files and those of lower floors, never another room of
 * its own floor; what is imported for its types alone counts like the rest.
 */
const FLOORS: readonly (readonly string[])[] = [
  // Files and secrets; arithmetic and verdicts, which need neither. (Above them, nats logs, and gpu measures msm's kernels.)
  ['home', 'msm', 'verdict'],
  ['nats', 'gpu'],
  ['attest', 'inference', 'monitor', 'passthrough'],
  // models asks for evidence to obtain a model, installation signs with the simulated root.
  ['prove', 'models', 'installation'],
  // verifier is a page, and what a package offers: it has no credentials and asks nobody.
  ['roles', 'client', 'verifier'],
  ['demo', 'gateway'],
  ['commands'],
];

/** Rooms that only the named ones may import, whatever the floors allow. */
const ONLY_FOR: Record<string, readonly string[]> = { demo: ['commands'], gateway: ['commands'] };

/** The one file that imports a package: the wrapped API is its own. */
const DOORS: Record<string, string> = {
  nats: 'runtime/nats/bus.ts',
  pino: 'runtime/home/logger.ts',
  'nats-jwt': 'runtime/installation/authority.ts',
  webgpu: 'runtime/gpu/adapter.ts',
  snarkjs: 'runtime/prove/snarkjs.ts',
  'onnxruntime-web': 'runtime/inference/session.ts',
  wasmcurves: 'runtime/msm/threads/fallback.ts',
};

/** Packages whose code is part of what is packed (runtime/pack.mjs). */
const BUILT_IN: ReadonlySet<string> = new Set(['wasmcurves']);

/** Files that run in a browser as well. */
const BROWSER_SAFE = /^(protocols|circuits|actors|runtime\/msm|runtime\/gpu|runtime\/verdict)\//;

/** What differs between Node and a browser in those folders: how a thread is started, and how a GPU is looked for. */
const NODE_ONLY: Record<string, string[]> = {
  'runtime/msm/threads/node-thread.ts': ['node:worker_threads'],
  'runtime/msm/threads/worker.ts': ['node:worker_threads'],
  'runtime/gpu/probe.ts': ['node:child_process', 'node:url'],
  'runtime/gpu/probe-program.ts': [],
};

/**
 * A browser's entry point -> what all that it loads may consist of. Pages hold no credentials. Those that are bundled may
 * have packages, and two files that need a disk, which runtime/bundle.mjs replaces.
 */
const PAGES: Record<string, { files: RegExp; packages?: string[]; replaced?: string[] }> = {
  'runtime/monitor/page.ts': {
    files:
      /^(runtime\/monitor\/(?!server|machines|intake|feed|watchers|histories|document|style)|protocols\/)/,
    packages: ['preact', 'uplot', ...HOUSE.protocols!.packages],
  },
  'runtime/verifier/thread.ts': {
    files:
      /^(runtime\/(verifier|verdict|msm\/shards)\/|runtime\/models\/(answers|applications|labelled-rows|table|random)\.ts|circuits\/|protocols\/)/,
    packages: HOUSE.protocols!.packages,
    replaced: ['runtime/verifier/toolchain.ts'],
  },
  'runtime/verifier/page.ts': {
    files:
      /^(runtime\/(verifier|verdict)\/|runtime\/monitor\/drop-zone\.ts|runtime\/models\/(answers|applications|labelled-rows|table|random)\.ts|circuits\/|protocols\/)/,
    packages: ['preact', ...HOUSE.protocols!.packages],
    replaced: ['runtime/verifier/toolchain.ts', 'runtime/prove/snarkjs.ts'],
  },
};

const sources = projectFiles().filter((path) => path.endsWith('.ts'));
const imports = new Map<string, Import[]>(sources.map((path) => [path, importsOf(path)]));
const folderOf = (path: string): string => path.split('/')[0]!;
/** The folder of runtime/ that a file belongs to, however deep it lies; undefined for all other files. */
const roomOf = (path: string): string | undefined => /^runtime\/([^/]+)\//.exec(path)?.[1];

/** Fails with all the lines that `check` gives for an import, not only the first. */
function everyImport(check: (path: string, imported: Import) => string | false | undefined): void {
  const broken = [...imports].flatMap(([path, list]) =>
    list.flatMap((imported) => {
      const why = check(path, imported);
      return why ? [`${path}: imports ${imported.specifier}: ${why}`] : [];
    }),
  );
  if (broken.length > 0) throw new Error(broken.join('\n'));
}

test('statements of every form are read', () => {
  const source = [
    "import './a.ts';",
    'import b, { type B } from "pkg/b";',
    "import type { C } from '../c.ts';",
    'export {',
    '  d,',
    '  e as f,',
    "} from './d.ts';",
    "export * as g from './g.ts';",
    `const h = await ${'import'}('./h.ts');`,
    "// import { no } from './comment.ts'",
    `const text = "import x from './string.ts'";`,
  ].join('\n');
  assert.equal(
    importsOf('protocols/x.ts', source)
      .map(({ specifier, file, typeOnly }) => [specifier, file, typeOnly])
      .sort(),
    [
      ['../c.ts', 'c.ts', true],
      ['./a.ts', 'protocols/a.ts', false],
      ['./d.ts', 'protocols/d.ts', false],
      ['./g.ts', 'protocols/g.ts', false],
      ['./h.ts', 'protocols/h.ts', false],
      ['pkg/b', undefined, false],
    ],
  );
});

test('a relative import names a file that is there, with its ending', () => {
  const known = new Set(projectFiles());
  everyImport((_, { file }) => file !== undefined && !known.has(file) && `there is no ${file}`);
});

test('protocols, circuits and actors import only what their place in the house allows', () => {
  everyImport((path, { specifier, file }) => {
    const folder = folderOf(path);
    const rule = HOUSE[folder];
    if (!rule) return;
    if (file) {
      const allowed = [folder, ...rule.folders];
      return !allowed.includes(folderOf(file)) && `${folder} imports ${allowed.join(' and ')} only`;
    }
    return !rule.packages.includes(packageOf(specifier)) && `${folder} uses ${rule.packages.join(', ')} only`;
  });
});

test('no actor imports another actor', () => {
  const isActor = (path: string) => path.startsWith('actors/') && /\.createMachine\(/.test(read(path));
  everyImport(
    (path, { file }) =>
      file !== undefined &&
      isActor(path) &&
      file.startsWith('actors/') &&
      isActor(file) &&
      'children are injected by name',
  );
});

test('runtime imports the house, never a test', () => {
  everyImport(
    (path, { file }) =>
      file !== undefined &&
      folderOf(path) === 'runtime' &&
      !['runtime', 'actors', 'circuits', 'protocols'].includes(folderOf(file)) &&
      'it does not ship',
  );
});

test('a room of runtime imports rooms on lower floors only', () => {
  const floorOf = new Map(FLOORS.flatMap((rooms, floor) => rooms.map((room) => [room, floor] as const)));
  const rooms = new Set(sources.map(roomOf).filter((room) => room !== undefined));
  assert.equal([...rooms].sort(), [...floorOf.keys()].sort(), 'every room has a floor');
  everyImport((path, { file }) => {
    const [from, to] = [roomOf(path), file === undefined ? undefined : roomOf(file)];
    if (from === undefined || to === undefined || from === to) return;
    if (ONLY_FOR[to] && !ONLY_FOR[to].includes(from)) return `only ${ONLY_FOR[to].join(' and ')} may`;
    return floorOf.get(to)! >= floorOf.get(from)! && `${to} is not on a floor below ${from}`;
  });
});

test('no TypeScript lies in runtime/ outside of a room', () => {
  assert.equal(
    sources.filter((path) => /^runtime\/[^/]+$/.test(path)),
    [],
  );
});

test('a wrapped package is imported by one file', () => {
  for (const [name, door] of Object.entries(DOORS)) {
    const used = imports.get(door)?.some(({ specifier }) => packageOf(specifier) === name);
    assert.ok(used, `${door} does not import ${name}: the door is elsewhere`);
  }
  everyImport((path, { specifier }) => {
    const door = DOORS[packageOf(specifier)];
    return door !== undefined && !path.startsWith('test/') && path !== door && `only ${door} may`;
  });
});

test('what a browser runs uses nothing of Node', () => {
  everyImport(
    (path, { specifier }) =>
      BROWSER_SAFE.test(path) &&
      isBuiltin(specifier) &&
      !NODE_ONLY[path]?.includes(specifier) &&
      'the file has to run in a browser',
  );
  everyImport(
    (path, { file }) =>
      file !== undefined &&
      /^runtime\/(msm|gpu|verdict)\//.test(path) &&
      !BROWSER_SAFE.test(file) &&
      'the rest of runtime needs Node',
  );
  const globals = sources
    .filter((path) => BROWSER_SAFE.test(path) && !NODE_ONLY[path])
    .filter((path) => /(?<![\w.'"`])(process\.\w|Buffer\.\w|__dirname)/.test(withoutComments(read(path))));
  assert.equal(globals, [], 'these use a global of Node');
});

test('exceptions for Node are still needed', () => {
  for (const path of Object.keys(NODE_ONLY))
    assert.ok(imports.has(path), `${path} is gone; so should its exception`);
});

for (const [entry, { files, packages = [], replaced = [] }] of Object.entries(PAGES)) {
  test(`${entry} loads nothing but what it may`, () => {
    assert.ok(imports.has(entry), `${entry} is gone`);
    const loaded = new Set([entry]);
    for (const path of loaded) {
      for (const { specifier, file, typeOnly } of imports.get(path) ?? []) {
        if (typeOnly || replaced.includes(file ?? '')) continue;
        if (file === undefined) {
          assert.ok(packages.includes(packageOf(specifier)), `${path} imports ${specifier}`);
          continue;
        }
        assert.ok(files.test(file), `${path} imports ${specifier}`);
        loaded.add(file);
      }
    }
  });
}

test('every package that is imported is one of ours to ask for', () => {
  const { name: own, dependencies, devDependencies, peerDependencies } = JSON.parse(read('package.json'));
  everyImport((path, { specifier, file }) => {
    if (file || isBuiltin(specifier)) return;
    const name = packageOf(specifier);
    // Text of programs that tests write for a project in which this one is installed.
    if (path.startsWith('test/') && name === own) return;
    const shipped = name in { ...dependencies, ...peerDependencies } || BUILT_IN.has(name);
    return (
      !shipped && !(path.startsWith('test/') && name in devDependencies) && 'package.json does not list it'
    );
  });
});

test('what a package asks for on demand is optional, and installed here in the same version', () => {
  const { peerDependencies, peerDependenciesMeta, devDependencies } = JSON.parse(read('package.json'));
  for (const [name, range] of Object.entries(peerDependencies)) {
    assert.equal(peerDependenciesMeta[name], { optional: true }, name);
    assert.is(devDependencies[name], range, name);
  }
});

test('no file imports itself through others, not for its types either', () => {
  const found = circles(imports);
  if (found.length > 0) throw new Error(found.join('\n'));
  const file = (name: string, typeOnly = false): Import => ({ specifier: `./${name}`, file: name, typeOnly });
  const circle = new Map([
    ['a.ts', [file('b.ts')]],
    ['b.ts', [file('c.ts', true)]],
    ['c.ts', [file('b.ts')]],
  ]);
  assert.equal(circles(circle), ['b.ts -> c.ts -> b.ts']);
});

/** A circle per import that closes one. */
function circles(graph: ReadonlyMap<string, readonly Import[]>): string[] {
  const done = new Set<string>();
  const found: string[] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    const start = trail.indexOf(path);
    if (start >= 0) found.push([...trail.slice(start), path].join(' -> '));
    if (start >= 0 || done.has(path)) return;
    for (const { file } of graph.get(path) ?? []) if (file !== undefined) visit(file, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
  return found;
}

function withoutComments(source: string): string {
  return source.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '');
}

test.run();

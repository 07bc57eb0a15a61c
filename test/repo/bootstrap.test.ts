/** What runs before everything else: the bootstrap on small projects of its own, and the launcher. */
import { spawn } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { assert, suite, type TestContext } from '../harness.ts';
import { ROOT, read } from './sources.ts';

const test = suite('bootstrap');

interface Locked {
  version: string;
  integrity?: string;
  optional?: boolean;
  os?: string | string[];
  cpu?: string | string[];
  bin?: Record<string, string>;
}
const lockOf = (packages: Record<string, Locked>) =>
  JSON.stringify({
    name: 'x',
    version: '1.0.0',
    lockfileVersion: 3,
    requires: true,
    packages: { '': { name: 'x', version: '1.0.0' }, ...packages },
  });

/** A project with our two launch files, a lock file, and packages "installed" as npm would have recorded them. */
function project(t: TestContext, wanted: Record<string, Locked>, installed = wanted): string {
  const root = mkdtempSync(join(tmpdir(), 'vouch-bootstrap-'));
  t.defer(() => rmSync(root, { recursive: true }));
  mkdirSync(join(root, 'runtime', 'commands'), { recursive: true });
  for (const name of ['bootstrap.mjs', 'vouch.mjs'])
    cpSync(join(ROOT, 'runtime', name), join(root, 'runtime', name));
  writeFileSync(join(root, 'package.json'), '{"name":"x","version":"1.0.0"}');
  writeFileSync(join(root, 'package-lock.json'), lockOf(wanted));
  if (Object.keys(installed).length > 0) {
    for (const path of Object.keys(installed)) {
      mkdirSync(join(root, path), { recursive: true });
      writeFileSync(join(root, path, 'package.json'), '{}');
    }
    writeFileSync(join(root, 'node_modules/.package-lock.json'), lockOf(installed));
  }
  return root;
}

async function run(program: string, args: string[], env: NodeJS.ProcessEnv = {}) {
  const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (text) => (stdout += text));
  child.stderr.on('data', (text) => (stderr += text));
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { code, stdout, stderr };
}

/** No registry, no cache, and a stand-in for npm where `npm` is its text. */
function offline(root: string, npm?: string): NodeJS.ProcessEnv {
  const folder = join(root, 'path');
  mkdirSync(folder);
  writeFileSync(join(folder, 'npm'), npm ?? '');
  chmodSync(join(folder, 'npm'), npm ? 0o755 : 0o644);
  symlinkSync(process.execPath, join(folder, 'node'));
  return { PATH: `${folder}:/usr/bin:/bin`, npm_execpath: '', npm_config_cache: join(root, 'cache') };
}

const ONE = { 'node_modules/one': { version: '1.0.0', integrity: 'sha512-a' } };
const ELSEWHERE = {
  'node_modules/foreign': { version: '1.0.0', optional: true, os: ['nowhere'] },
  'node_modules/foreign-cpu': { version: '1.0.0', optional: true, cpu: `!${process.arch}` },
};

test('says and does nothing when everything is installed', async (t) => {
  const root = project(t, { ...ONE, ...ELSEWHERE }, ONE);
  const result = await run(process.execPath, [join(root, 'runtime/bootstrap.mjs')], offline(root));
  assert.equal(result, { code: 0, stdout: '', stderr: '' });
});

test('installs when a package is absent, of another version, or its folder is gone', async (t) => {
  const npm = '#!/bin/sh\necho "$@" > npm-was-called\nmkdir -p node_modules/.bin\n';
  const cases = [
    project(t, ONE, {}),
    project(t, ONE, { 'node_modules/one': { version: '1.0.1', integrity: 'sha512-b' } }),
    project(t, ONE),
  ];
  rmSync(join(cases[2]!, 'node_modules/one'), { recursive: true });
  for (const root of cases) {
    const { code, stdout, stderr } = await run(
      process.execPath,
      [join(root, 'runtime/bootstrap.mjs')],
      offline(root, npm),
    );
    assert.equal([code, stdout], [0, ''], stderr);
    assert.match(stderr, 'one is missing');
    assert.ok(existsSync(join(root, 'npm-was-called')));
  }
});

/** A Node of this version, as far as the bootstrap asks. */
const nodeOf = (version: string) => `#!/bin/sh\necho v${version}\n`;

test('a machine whose Node is too old gets one by npm, first on the PATH of npm scripts; nobody else does', async (t) => {
  const here = {
    version: '24.0.0',
    optional: true,
    os: process.platform,
    cpu: process.arch,
    bin: { node: 'bin/node' },
  };
  const node = { 'node_modules/node-here': here, 'node_modules/node-other': { ...here, os: 'nowhere' } };
  const npm = (version: string) => `#!/bin/sh
    mkdir -p node_modules/node-here/bin
    printf '${nodeOf(version).replaceAll('\n', '\\n')}' > node_modules/node-here/bin/node
    chmod 755 node_modules/node-here/bin/node\n`;
  const OLD = "Object.defineProperty(process.versions, 'node', { value: '20.1.0' });";
  const bootstrap = async (lie: string, version: string) => {
    const root = project(t, ONE);
    mkdirSync(join(root, 'runtime/node'));
    writeFileSync(join(root, 'runtime/node/package-lock.json'), lockOf(node));
    const file = join(root, 'runtime/bootstrap.mjs');
    // The version is the process's own; an old one is said to it before it is asked.
    const start = join(root, 'start.mjs');
    writeFileSync(start, `${lie} const { bootstrap } = await import(${JSON.stringify(file)}); bootstrap();`);
    return { root, ...(await run(process.execPath, [start], offline(root, npm(version)))) };
  };
  const old = await bootstrap(OLD, '24.1.0');
  assert.is(old.code, 0, old.stderr);
  assert.match(old.stderr, /node-here is missing/);
  const link = readlinkSync(join(old.root, 'node_modules/.bin/node'));
  assert.is(link, '../../runtime/node/node_modules/node-here/bin/node');

  const recent = await bootstrap('', '24.1.0');
  assert.equal([recent.code, recent.stderr], [0, '']);
  assert.not(existsSync(join(recent.root, 'runtime/node/node_modules')), 'nothing is fetched');

  // Our own, from under which npm took the link when it replaced packages, is not the machine's.
  const own =
    "Object.defineProperty(process, 'execPath', { value: import.meta.dirname + '/node_modules/.bin/node' });";
  const updated = await bootstrap(own, '24.1.0');
  assert.is(updated.code, 0, updated.stderr);
  assert.ok(existsSync(join(updated.root, 'node_modules/.bin/node')));

  // One that does not run here, or is too old itself, must not stay in the way.
  const broken = await bootstrap(OLD, '18.0.0');
  assert.is(broken.code, 2);
  assert.match(
    broken.stderr,
    /this needs Node 24 or later; npm has none that runs on .* and yours is 20\.1\.0/,
  );
  assert.not(existsSync(join(broken.root, 'node_modules/.bin/node')));
});

test('one sentence and exit code 2 when npm has no connection, fails, or is absent', async (t) => {
  const failing = (text: string) => `#!/bin/sh\necho '${text}' >&2\nexit 1\n`;
  const cases: Array<[string, RegExp]> = [
    [
      failing('npm error request to https://registry.example/one failed, reason: ENOTFOUND'),
      /could not reach https:\/\/registry\.example \(ENOTFOUND\)/,
    ],
    [failing('npm error code EUSAGE'), /npm could not install the packages.*EUSAGE/s],
  ];
  for (const [npm, expected] of cases) {
    const root = project(t, ONE, {});
    const { code, stdout, stderr } = await run(
      process.execPath,
      [join(root, 'runtime/bootstrap.mjs')],
      offline(root, npm),
    );
    assert.equal([code, stdout], [2, '']);
    assert.match(stderr, expected);
    assert.not.match(stderr, 'at '); // no stack
  }
  const root = project(t, ONE, {});
  const { PATH: _, ...rest } = offline(root);
  const { code, stderr } = await run(process.execPath, [join(root, 'runtime/bootstrap.mjs')], {
    ...rest,
    PATH: join(root, 'path'),
  });
  assert.is(code, 2, stderr);
  assert.match(stderr, 'npm');
});

test('names a lock file that cannot be read', async (t) => {
  const root = project(t, ONE);
  writeFileSync(join(root, 'package-lock.json'), '{"packages":');
  const { code, stderr } = await run(process.execPath, [join(root, 'runtime/bootstrap.mjs')], offline(root));
  assert.is(code, 2);
  assert.match(stderr, 'package-lock.json is missing or damaged');
});

test('the launcher passes arguments, input, output and exit code', async (t) => {
  const root = project(t, ONE);
  const cli =
    'const rest: string[] = process.argv.slice(2);\nconsole.log(JSON.stringify(rest));\nprocess.exitCode = 7;\n';
  writeFileSync(join(root, 'runtime/commands/cli.ts'), cli);
  writeFileSync(join(root, 'package.json'), '{"name":"x","version":"1.0.0","type":"module"}');
  const result = await run(
    process.execPath,
    [join(root, 'runtime/vouch.mjs'), 'infer', '--json', 'a b'],
    offline(root),
  );
  assert.equal(result, { code: 7, stdout: '["infer","--json","a b"]\n', stderr: '' });
});

for (const file of ['package-lock.json', 'runtime/node/package-lock.json']) {
  test(`${file} is complete: every platform, every digest`, () => {
    const { packages } = JSON.parse(read(file)) as {
      packages: Record<string, Locked & Record<string, object>>;
    };
    const holes = Object.entries(packages).flatMap(([path, entry]) => {
      const undigested =
        path !== '' && !(entry.version && entry.integrity) ? [`${path} has no version or digest`] : [];
      const lost = Object.keys({ ...entry.dependencies, ...entry.optionalDependencies })
        .filter((name) => !isLocked(packages, path, name))
        .map((name) => `${path || 'the project'} needs ${name}, which is not locked`);
      return [...undigested, ...lost];
    });
    if (holes.length > 0) throw new Error(holes.join('\n'));
  });
}

test('Node is locked for every platform of ours, and no dependency brings one', () => {
  const { packages } = JSON.parse(read('runtime/node/package-lock.json')) as {
    packages: Record<string, Locked>;
  };
  const platforms = Object.values(packages).flatMap(({ os, cpu, bin }) =>
    bin?.node ? [`${os} ${cpu}`] : [],
  );
  assert.equal(platforms.sort(), ['darwin arm64', 'darwin x64', 'linux arm64', 'linux x64']);
  const root = JSON.parse(read('package-lock.json')) as { packages: Record<string, Locked> };
  const nodes = Object.entries(root.packages).filter(([path, { bin }]) => path !== '' && bin?.node);
  assert.equal(nodes, [], 'it would replace the Node of whoever depends on us');
});

/** Looks a name up as Node does: in the node_modules of each folder from `path` upwards. */
function isLocked(packages: object, path: string, name: string): boolean {
  for (let folder = path; ; folder = dirname(folder)) {
    if (Object.hasOwn(packages, join(folder, 'node_modules', name))) return true;
    if (folder === '' || folder === '.') return false;
  }
}

test.run();

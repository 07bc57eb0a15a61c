/** What `npm pack` would ship works where it is installed: as JavaScript, with types, under node_modules. */
import { execFile, execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { setup } from '../../circuits/groth16/setup.ts';
import { writeWitness } from '../../circuits/groth16/witness.ts';
import { createPool } from '../../runtime/msm/threads/pool.ts';
import { randomCircuit } from '../circuits/groth16-circuit.ts';
import { assert, suite } from '../harness.ts';
import { projectFiles, ROOT, read } from './sources.ts';

const test = suite('package', { timeoutMs: 110_000 });
const run = promisify(execFile);
const modules = join(ROOT, 'node_modules');

/** A consumer's folder with the package unpacked and our dependencies beside it. Nothing is fetched. */
async function install(root: string): Promise<string> {
  const source = join(root, 'vouch');
  for (const path of projectFiles()) {
    mkdirSync(join(source, dirname(path)), { recursive: true });
    cpSync(join(ROOT, path), join(source, path));
  }
  symlinkSync(modules, join(source, 'node_modules'));
  execFileSync(process.execPath, [join(source, 'runtime/pack.mjs')], { stdio: 'pipe' });
  const tarball = execFileSync('npm', ['pack', '--ignore-scripts', '--pack-destination', root], {
    cwd: source,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  }).trim();
  const consumer = join(root, 'consumer');
  const target = join(consumer, 'node_modules/vouch');
  mkdirSync(target, { recursive: true });
  execFileSync('tar', ['-xzf', join(root, tarball), '-C', target, '--strip-components=1']);
  for (const name of readdirSync(modules)) {
    if (!name.startsWith('.')) symlinkSync(join(modules, name), join(consumer, 'node_modules', name));
  }
  writeFileSync(join(consumer, 'package.json'), '{"type":"module"}');
  return consumer;
}

const root = mkdtempSync(join(tmpdir(), 'vouch-package-'));
process.on('exit', () => rmSync(root, { recursive: true, force: true }));
let consumer: Promise<string> | undefined;
const installed = (): Promise<string> => (consumer ??= install(root));

test('the scripts, entry points and files that package.json names exist', () => {
  const { scripts, bin } = JSON.parse(read('package.json')) as Record<
    'scripts' | 'bin',
    Record<string, string>
  >;
  const known = new Set(projectFiles());
  const named = [
    ...Object.values(bin),
    ...Object.values(scripts).flatMap((line) => line.match(/[\w/-]+\.(ts|mjs)\b/g) ?? []),
  ];
  assert.equal(
    named.filter((path) => !known.has(path)),
    [],
  );
});

test('the package holds the built parts, the circuits and the licence, and no source, test or secret', async () => {
  const files = readdirSync(join(await installed(), 'node_modules/vouch'), {
    recursive: true,
    encoding: 'utf8',
  });
  const expected = [
    'LICENSE',
    'README.md',
    'SECURITY.md',
    'package.json',
    'runtime/vouch.mjs',
    'dist/nats.conf',
    'dist/runtime/commands/cli.js',
  ];
  const circuits = projectFiles().filter((path) => path.endsWith('.circom') && path.startsWith('circuits/'));
  assert.equal(
    [...expected, ...circuits.map((path) => `dist/${path}`)].filter((path) => !files.includes(path)),
    [],
  );
  const unwanted = /(^|\/)(test|shared|\.vouch|node_modules)\/|(?<!\.d)\.ts$|\.creds$|package-lock/;
  assert.equal(
    files.filter((path) => unwanted.test(path)),
    [],
  );
});

test('its protocols can be imported, its prover proves, and the process ends by itself', async () => {
  const folder = await installed();
  const { r1cs, witness } = randomCircuit({ constraints: 12 });
  await using pool = await createPool({ threads: 1 });
  const { zkey, verificationKey } = await setup(r1cs, { field: pool, points: pool });
  writeFileSync(join(folder, 'a.zkey'), zkey);
  writeFileSync(join(folder, 'a.wtns'), writeWitness(witness));
  writeFileSync(join(folder, 'vk.json'), JSON.stringify(verificationKey));
  const script = `
    import { readFileSync } from 'node:fs';
    import { subjects } from 'vouch/protocols/subjects';
    import { groth16 } from 'vouch/prover';
    const { proof, publicSignals } = await groth16.prove('a.zkey', 'a.wtns', { threads: 2 });
    const key = JSON.parse(readFileSync('vk.json', 'utf8'));
    console.log(await groth16.verify(key, publicSignals, proof), typeof subjects.proof);`;
  writeFileSync(join(folder, 'use.mjs'), script);
  const { stdout, stderr } = await run(process.execPath, ['use.mjs'], { cwd: folder });
  assert.equal([stdout, stderr], ['true function\n', '']);
});

test('its types are found and checked', async () => {
  const options = {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    target: 'es2024',
    module: 'nodenext',
    types: [],
    lib: ['es2024', 'dom', 'esnext.disposable'],
  };
  writeFileSync(
    join(await installed(), 'tsconfig.json'),
    JSON.stringify({ compilerOptions: options, files: ['use.ts'] }),
  );
  const source = `
    import { subjects } from 'vouch/protocols/subjects';
    import { createProver, groth16 } from 'vouch/prover';
    export const ok: string = subjects.proof('c', 'j');
    const { proof, publicSignals } = await groth16.prove('a.zkey', new Uint8Array(1), { threads: 2 });
    export const first: string = publicSignals[0]! + proof.pi_a[0]!;
    await using prover = await createProver({ threads: 1 });
    await using key = await prover.load({ type: 'mem', data: new Uint8Array(1) });
    await key.fullProve({ a: [1, '2', [3n]] }, 'a.wasm', { signal: AbortSignal.abort() });
    // @ts-expect-error a key is a file or its bytes
    await groth16.prove(1, 'a.wtns');
    // @ts-expect-error a job is a string
    subjects.proof('c', 1);`;
  writeFileSync(join(await installed(), 'use.ts'), source);
  await run(join(modules, '.bin/tsc'), ['-p', '.'], { cwd: await installed() }).catch((error) =>
    assert.unreachable(error.stdout),
  );
});

test('its command runs', async () => {
  const vouch = join(await installed(), 'node_modules/vouch/runtime/vouch.mjs');
  const { stdout } = await run(process.execPath, [vouch, '--help'], { cwd: await installed() });
  assert.match(stdout, /vouch/);
});

test.run();

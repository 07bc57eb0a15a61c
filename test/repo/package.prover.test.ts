/** What `npm pack` would ship works where it is installed: as JavaScript, with types, under node_modules. */
import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { assert, suite } from '../harness.ts';
import { type Consumer, installedPackages, installPacked, MODULES, writeKey } from './packed.ts';
import { projectFiles, read } from './sources.ts';

const test = suite('package', { timeoutMs: 110_000 });
const run = promisify(execFile);

let made: Promise<Consumer> | undefined;
const installed = (): Promise<Consumer> => {
  made ??= (async () => {
    const consumer = installPacked();
    await writeKey(consumer.folder, consumer.alone);
    return consumer;
  })();
  return made;
};
/** Runs a script in a folder of the consumer's. */
async function runScript(folder: string, name: string, text: string, ...flags: string[]) {
  writeFileSync(join(folder, name), text);
  return run(process.execPath, [...flags, name], { cwd: folder });
}

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
  const files = readdirSync(join((await installed()).folder, 'node_modules/vouch'), {
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
    'dist/runtime/compiled/cli.js',
    'dist/runtime/compiled/worker.js',
  ];
  const circuits = projectFiles().filter((path) => path.endsWith('.circom') && path.startsWith('circuits/'));
  assert.equal(
    [...expected, ...circuits.map((path) => `dist/${path}`)].filter((path) => !files.includes(path)),
    [],
  );
  const unwanted =
    /(^|\/)(test|shared|\.vouch|node_modules)\/|(?<!\.d)\.ts$|\.creds$|(?<!inference\/llama\/)package-lock/;
  assert.equal(
    files.filter((path) => unwanted.test(path)),
    [],
  );
});

const USE = `
  const { proof, publicSignals } = await groth16.prove('a.zkey', 'a.wtns', { threads: 2 });
  const key = await zKey.exportVerificationKey('a.zkey');
  console.log(await groth16.verify(key, publicSignals, proof), typeof subjects?.proof);`;

test('the prover proves with no other package installed, from modules and from CommonJS, and ends by itself', async () => {
  const { alone, folder } = await installed();
  for (const [name, text] of [
    ['use.mjs', `import { groth16, zKey } from 'vouch/prover'; const subjects = undefined; ${USE}`],
    [
      'use.cjs',
      `const { groth16, zKey } = require('vouch/prover'); const subjects = undefined; (async () => { ${USE} })();`,
    ],
  ] as const) {
    const { stdout, stderr } = await runScript(alone, name, text);
    assert.equal([stdout, stderr], ['true undefined\n', ''], name);
  }
  const both = `import { subjects } from 'vouch/protocols/subjects'; import { groth16, zKey } from 'vouch/prover'; ${USE}`;
  const { stdout, stderr } = await runScript(folder, 'use.mjs', both);
  assert.equal([stdout, stderr], ['true function\n', '']);
});

test('what is asked for on demand is asked for in a sentence', async () => {
  const { alone } = await installed();
  const text = `
    import { createProver, zKey } from 'vouch/prover';
    const said = ({ code, message }) => console.log(code + ': ' + message);
    await zKey.exportSolidityVerifier('a.zkey').catch(said);
    await createProver({ engine: 'webgpu' }).catch(said);`;
  const { stdout } = await runScript(alone, 'demand.mjs', text);
  assert.match(
    stdout,
    /^not-ready: this needs the package snarkjs: npm install snarkjs\nnot-ready: .*npm install webgpu/,
  );
});

test('an older Node is told which one is needed when the prover is imported', async () => {
  const { alone } = await installed();
  const lie = "data:text/javascript,Object.defineProperty(process.versions,'node',{value:'20.20.2'})";
  const text = "await import('vouch/prover').catch(({ message }) => console.log(message));";
  const { stdout } = await runScript(alone, 'old.mjs', text, '--import', lie);
  assert.match(stdout, /^vouch\/prover needs Node 24 or later, and this is Node 20\.20\.2: /);
});

test('a bundle for Node finds its threads, as a module and as CommonJS', async () => {
  const { alone } = await installed();
  writeFileSync(
    join(alone, 'bundled.ts'),
    `import { groth16, zKey } from 'vouch/prover';
     export const done = (async () => { const subjects = undefined; ${USE} })();`,
  );
  for (const format of ['esm', 'cjs'] as const) {
    const outfile = join(alone, format, 'bundle.' + (format === 'esm' ? 'mjs' : 'cjs'));
    await build({
      entryPoints: [join(alone, 'bundled.ts')],
      bundle: true,
      platform: 'node',
      format,
      outfile,
      logLevel: 'silent',
    });
    const { stdout } = await run(process.execPath, [outfile], { cwd: alone });
    assert.is(stdout, 'true undefined\n', format);
  }
});

/** Bytes of a folder's files. */
const weightOf = (folder: string): number =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);

test('it weighs what a prover weighs, with all that npm installs beside it', async () => {
  const { folder } = await installed();
  const { dependencies, optionalDependencies = {} } = JSON.parse(
    readFileSync(join(folder, 'node_modules/vouch/package.json'), 'utf8'),
  );
  assert.equal(optionalDependencies, {}, 'npm installs these, too');
  const weights = installedPackages(Object.keys(dependencies)).map((name) => weightOf(join(MODULES, name)));
  const total = weights.reduce((sum, weight) => sum + weight, weightOf(join(folder, 'node_modules/vouch')));
  assert.ok(total < MAX_BYTES, `${(total / 1e6).toFixed(1)} MB`);
});
/** With snarkjs it is 12 MB; ours has the monitor, its verifier and a client for pages as well. */
const MAX_BYTES = 30e6;

const TYPES = {
  strict: true,
  exactOptionalPropertyTypes: true,
  noEmit: true,
  skipLibCheck: false,
  target: 'es2022',
  types: [],
};
const USES = `
  import { createProver, groth16, wtns, zKey, type Proof, type ProveOptions, type VerificationKey } from 'vouch/prover';
  import type { Groth16Proof, PublicSignals } from 'snarkjs';
  const { proof, publicSignals } = await groth16.prove('a.zkey', new Uint8Array(1), { threads: 2 });
  export const first: string = publicSignals[0]! + proof.pi_a[0]!;
  const prover = await createProver({ threads: 1 });
  const key = await prover.load({ type: 'mem', data: new Uint8Array(1) });
  await key.fullProve({ a: [1, '2', [3n]] }, 'a.wasm');
  // snarkjs's types are ours, and ours are snarkjs's.
  const theirs: Groth16Proof = proof;
  const ours: Proof = theirs;
  const signals: PublicSignals = publicSignals;
  const vk: VerificationKey = await zKey.exportVerificationKey('a.zkey');
  const yes: boolean = await groth16.verify(vk, signals, ours, null);
  const verdict = await groth16.verify(vk, [1n, 2, '0x3'], theirs, { explain: true });
  if (!verdict.verified) verdict.reason.toUpperCase();
  const options: ProveOptions = { singleThread: true, logger: null };
  await groth16.prove('a.zkey', 'a.wtns', null, { singleThread: true });
  await wtns.calculate({ a: 1 }, 'a.wasm', { type: 'mem' }, options);
  // @ts-expect-error a key is a file or its bytes
  await groth16.prove(1, 'a.wtns');
  // @ts-expect-error there is no such engine
  await createProver({ engine: 'cuda' });
  export { yes };`;

test('its types compile in a foreign project as strict as can be, and are those of @types/snarkjs', async () => {
  const { alone } = await installed();
  const types = join(alone, 'node_modules/@types/snarkjs');
  mkdirSync(dirname(types), { recursive: true });
  symlinkSync(join(MODULES, '@types/snarkjs'), types);
  writeFileSync(join(alone, 'use.ts'), USES);
  for (const options of [
    { module: 'nodenext', lib: ['es2022'] },
    { module: 'esnext', moduleResolution: 'bundler', lib: ['es2022', 'dom'], customConditions: ['browser'] },
  ]) {
    const config = { compilerOptions: { ...TYPES, ...options }, files: ['use.ts'] };
    writeFileSync(join(alone, 'tsconfig.json'), JSON.stringify(config));
    await run(join(MODULES, '.bin/tsc'), ['-p', '.'], { cwd: alone }).catch((error) =>
      assert.unreachable(`${JSON.stringify(options)}: ${error.stdout}`),
    );
  }
});

test('the types of its protocols are found and checked', async () => {
  const { folder } = await installed();
  const options = {
    ...TYPES,
    skipLibCheck: true,
    target: 'es2024',
    module: 'nodenext',
    lib: ['es2024', 'dom', 'esnext.disposable'],
  };
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({ compilerOptions: options, files: ['use.ts'] }),
  );
  const source = `
    import { subjects } from 'vouch/protocols/subjects';
    export const ok: string = subjects.proof('client', 'job');
    // @ts-expect-error a job is a string
    subjects.proof(1, 'job');`;
  writeFileSync(join(folder, 'use.ts'), source);
  await run(join(MODULES, '.bin/tsc'), ['-p', '.'], { cwd: folder }).catch((error) =>
    assert.unreachable(error.stdout),
  );
});

test('its command runs; what a command lacks is named, with how to get it', async () => {
  const { folder } = await installed();
  const vouch = (...words: string[]) =>
    run(process.execPath, [join(folder, 'node_modules/vouch/runtime/vouch.mjs'), ...words], { cwd: folder });
  assert.match((await vouch('--help')).stdout, /vouch/);
  await vouch('zkey', 'export', 'verificationkey', 'a.zkey', 'exported.json');
  await vouch('groth16', 'prove', 'a.zkey', 'a.wtns');
  assert.is((await vouch('groth16', 'verify', 'exported.json')).stdout, 'OK!\n');
  const { code, stderr } = await vouch('status').catch((error) => error);
  assert.is(code, 2);
  assert.match(
    stderr,
    /^vouch: this command needs the package \S+, which is not installed; all .*: npm install .*nats@/,
  );
});

test('all of it is removed', async () => (await installed()).remove());

test.run();

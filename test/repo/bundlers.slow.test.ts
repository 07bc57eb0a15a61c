/**
 * The package through other people's tools, as they are: bundled by vite and by webpack into pages that prove in Chromium,
 * and used in tests by vitest and by jest. They are fetched with npm, into a folder that goes with the test; where that
 * does not work, every test says so.
 */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';
import { groth16 } from '../../runtime/prove/prover.ts';
import { chromiumPath } from '../chromium.ts';
import { assert, suite, type TestContext } from '../harness.ts';
import { type Consumer, installPacked, writeKey } from './packed.ts';

const test = suite('bundlers and test runners', { timeoutMs: 300_000 });
const run = promisify(execFile);
const TOOLS = { vite: '8', webpack: '5', vitest: '4', jest: '30' } as const;
const INSTALL_MS = 180_000;

const folder = mkdtempSync(join(tmpdir(), 'vouch-tools-'));
const modules = join(folder, 'node_modules');
let prepared: Promise<Consumer | string> | undefined;

/** A consumer of the package, beside the tools; else why there are none. */
async function consumerOf(t: TestContext): Promise<Consumer> {
  prepared ??= (async () => {
    writeFileSync(join(folder, 'package.json'), '{"private":true}');
    const names = Object.entries(TOOLS).map(([name, major]) => `${name}@${major}`);
    try {
      await run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', ...names], {
        cwd: folder,
        timeout: INSTALL_MS,
      });
    } catch (error) {
      return `npm could not install ${names.join(', ')} (${String((error as Error).message).split('\n')[0]})`;
    }
    const consumer = installPacked();
    await writeKey(consumer.alone);
    for (const name of ['vitest', 'jest']) {
      symlinkSync(join(modules, name), join(consumer.alone, 'node_modules', name));
    }
    return consumer;
  })();
  const consumer = await prepared;
  return typeof consumer === 'string' ? t.skip(consumer) : consumer;
}

const PAGE = `
  import { groth16, zKey } from 'vouch/prover';
  globalThis.answer = async () => {
    const { proof, publicSignals } = await groth16.prove('/a.zkey', '/a.wtns', { threads: 2 });
    const key = await zKey.exportVerificationKey('/a.zkey');
    return { verified: await groth16.verify(key, publicSignals, proof), proof, publicSignals };
  };`;

/** Serves what a bundler made, beside the key and the witness, and lets the page prove. */
async function proveInPage(t: TestContext, { alone }: Consumer, made: string): Promise<void> {
  const executablePath = chromiumPath();
  if (executablePath === undefined) t.skip('no Chromium was found; set $CHROMIUM to its path');
  const files = new Map<string, string>(['a.zkey', 'a.wtns'].map((name) => [`/${name}`, join(alone, name)]));
  for (const name of readdirSync(made, { recursive: true, encoding: 'utf8' })) {
    if (/\.(js|html)$/.test(name)) files.set(`/${name.replaceAll('\\', '/')}`, join(made, name));
  }
  const server = createServer(({ url = '' }, response) => {
    const path = files.get(url === '/' ? '/index.html' : url);
    const type =
      url === '/' ? 'text/html' : url.endsWith('.js') ? 'text/javascript' : 'application/octet-stream';
    response.writeHead(path ? 200 : 404, {
      'Content-Type': type,
      'Cross-Origin-Opener-Policy': 'same-origin',
      'Cross-Origin-Embedder-Policy': 'require-corp',
    });
    response.end(path && readFileSync(path));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.defer(() => server.close());
  const browser = await chromium.launch({
    executablePath,
    args: ['--headless', '--no-sandbox', '--disable-quic'],
  });
  t.defer(() => browser.close());
  const page = await browser.newPage();
  page.on('pageerror', (error) => console.error('page:', error));
  await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  await page.waitForFunction(() => 'answer' in globalThis);
  // biome-ignore lint/suspicious/noExplicitAny: the page's answer
  const answer = (await page.evaluate('answer()')) as any;
  assert.is(answer.verified, true);
  const key = JSON.parse(readFileSync(join(alone, 'vk.json'), 'utf8'));
  assert.ok(await groth16.verify(key, answer.publicSignals, answer.proof));
}

/** What a tool exports, which has no types here. */
// biome-ignore lint/suspicious/noExplicitAny: somebody else's
const load = (name: string): Promise<any> =>
  import(pathToFileURL(createRequire(join(folder, 'package.json')).resolve(name)).href);

test('vite bundles it with no configuration, and the page proves', async (t) => {
  const consumer = await consumerOf(t);
  const root = join(consumer.alone, 'vite');
  mkdirSync(root);
  writeFileSync(join(root, 'page.js'), PAGE);
  writeFileSync(join(root, 'index.html'), '<!doctype html><script type="module" src="/page.js"></script>');
  const { build } = await load('vite');
  await build({ root, logLevel: 'error' });
  await proveInPage(t, consumer, join(root, 'dist'));
});

test('webpack bundles it with no configuration, and the page proves', async (t) => {
  const consumer = await consumerOf(t);
  const context = join(consumer.alone, 'webpack');
  mkdirSync(context);
  writeFileSync(join(context, 'page.js'), PAGE);
  const { default: webpack } = await load('webpack');
  const output = { path: join(context, 'dist'), filename: 'page.js' };
  const stats = await promisify(webpack)({ context, entry: './page.js', mode: 'production', output });
  // biome-ignore lint/suspicious/noExplicitAny: webpack's
  assert.is((stats as any).hasErrors(), false, String(stats));
  writeFileSync(join(output.path, 'index.html'), '<!doctype html><script src="/page.js"></script>');
  await proveInPage(t, consumer, output.path);
});

/** A file of a test runner's, in which `expectation` says what has to be true. */
const testFile = (head: string) => `
  ${head}
  import { readFileSync } from 'node:fs';
  import { groth16 } from 'vouch/prover';
  test('a proof', async () => {
    const { proof, publicSignals } = await groth16.prove('a.zkey', 'a.wtns', { threads: 1 });
    const key = JSON.parse(readFileSync('vk.json', 'utf8'));
    expect(await groth16.verify(key, publicSignals, proof)).toBe(true);
  }, 60_000);`;

test('vitest runs a test that proves', async (t) => {
  const { alone } = await consumerOf(t);
  writeFileSync(join(alone, 'proof.vitest.test.js'), testFile("import { expect, test } from 'vitest';"));
  await run(process.execPath, [join(modules, 'vitest/vitest.mjs'), 'run', 'proof.vitest'], { cwd: alone });
});

test('jest runs a test that proves, with vm modules', async (t) => {
  const { alone } = await consumerOf(t);
  writeFileSync(join(alone, 'proof.jest.test.js'), testFile(''));
  const words = ['--experimental-vm-modules', join(modules, 'jest/bin/jest.js'), 'proof.jest'];
  await run(process.execPath, words, { cwd: alone });
});

test('all of it is removed', async () => {
  const consumer = await prepared;
  if (consumer !== undefined && typeof consumer !== 'string') await consumer.remove();
  await rm(folder, { recursive: true, force: true });
});

test.run();

/**
 * The package as a page gets it: bundled by whoever builds the page, with nothing said about workers, in a page that is
 * cross-origin isolated and in one that is not; and with threads that the page serves itself, where Blobs are forbidden.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import { groth16 } from '../../runtime/prove/prover.ts';
import { chromiumPath } from '../chromium.ts';
import { assert, suite, type TestContext } from '../harness.ts';
import { type Consumer, installPacked, writeKey } from './packed.ts';

const test = suite('package in a browser', { timeoutMs: 300_000 });

const PAGE = `
  import { createProver, groth16, r1cs, serveWorkersFrom, wtns, zKey } from 'vouch/prover';
  globalThis.answer = async ({ served }) => {
    if (served) serveWorkersFrom({ sums: '/sums.js', witness: '/witness.js' });
    const { proof, publicSignals } = await groth16.prove('/a.zkey', '/a.wtns', { threads: 2 });
    const key = await zKey.exportVerificationKey('/a.zkey');
    const verified = await groth16.verify(key, publicSignals, proof);
    const blob = await (await fetch('/circuit.zkey')).blob();
    const lines = [];
    const full = await groth16.fullProve({ a: [[2, 3], [5, 7]], b: 1 }, '/circuit.wasm', blob, { onLog: (line) => lines.push(line) });
    const refused = await createProver({ engine: 'webgpu' }).catch(({ message }) => message);
    const gone = await groth16.prove('/gone.zkey', '/a.wtns').catch(({ code, message }) => code + ': ' + message);
    return { isolated: crossOriginIsolated, verified, proof, publicSignals, full, lines, refused, gone };
  };`;

let made: Promise<{ consumer: Consumer; files: Map<string, Uint8Array> }> | undefined;
const bundled = () => {
  made ??= (async () => {
    const consumer = installPacked();
    const { alone } = consumer;
    await writeKey(alone);
    writeFileSync(join(alone, 'page.js'), PAGE);
    const bundle = async (entry: string): Promise<Uint8Array> => {
      const { outputFiles } = await build({
        entryPoints: [join(alone, entry)],
        bundle: true,
        format: 'esm',
        platform: 'browser',
        write: false,
        logLevel: 'silent',
      });
      return outputFiles[0]!.contents;
    };
    const threads = 'node_modules/vouch/dist/runtime/msm/threads';
    const files = new Map<string, Uint8Array>([
      ['/page.js', await bundle('page.js')],
      ['/sums.js', await bundle(`${threads}/web-worker.js`)],
      ['/witness.js', await bundle(`${threads}/web-witness.js`)],
      ['/', new TextEncoder().encode('<!doctype html><script type="module" src="/page.js"></script>')],
    ]);
    for (const name of ['a.zkey', 'a.wtns']) files.set(`/${name}`, readFileSync(join(alone, name)));
    // A calculator of circom 1, which the browser runs as Node does.
    const { wasm, r1cs } = JSON.parse(
      readFileSync(new URL('../vectors/circom1.json', import.meta.url), 'utf8'),
    );
    const { gunzipSync } = await import('node:zlib');
    const { setup } = await import('../../circuits/groth16/setup.ts');
    const { createPool } = await import('../../runtime/msm/threads/pool.ts');
    await using pool = await createPool({ threads: 1 });
    const circuit = await setup(new Uint8Array(gunzipSync(Buffer.from(r1cs, 'base64'))), {
      field: pool,
      points: pool,
    });
    files.set('/circuit.zkey', circuit.zkey);
    files.set('/circuit.wasm', new Uint8Array(gunzipSync(Buffer.from(wasm, 'base64'))));
    files.set('/circuit_vk.json', new TextEncoder().encode(JSON.stringify(circuit.verificationKey)));
    return { consumer, files };
  })();
  return made;
};

async function answerOf(t: TestContext, headers: Record<string, string>, question: { served: boolean }) {
  const executablePath = chromiumPath();
  if (executablePath === undefined) t.skip('no Chromium was found; set $CHROMIUM to its path');
  const { files } = await bundled();
  const server = createServer(({ url = '' }, response) => {
    const bytes = files.get(url);
    const type =
      url === '/' ? 'text/html' : url.endsWith('.js') ? 'text/javascript' : 'application/octet-stream';
    response.writeHead(bytes ? 200 : 404, { 'Content-Type': type, ...headers });
    response.end(bytes);
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
  return (await page.evaluate(`answer(${JSON.stringify(question)})`)) as any;
}

const ISOLATED = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
};
for (const { name, headers, served, isolated } of [
  { name: 'isolated', headers: ISOLATED, served: false, isolated: true },
  { name: 'not isolated', headers: {}, served: false, isolated: false },
  {
    name: 'without workers from Blobs',
    headers: {
      ...ISOLATED,
      'Content-Security-Policy': "script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'",
    },
    served: true,
    isolated: true,
  },
]) {
  test(`a page that is ${name}: proofs that Node verifies`, async (t) => {
    const answer = await answerOf(t, headers, { served });
    const { files, consumer } = await bundled();
    const key = JSON.parse(readFileSync(join(consumer.alone, 'vk.json'), 'utf8'));
    assert.equal([answer.isolated, answer.verified], [isolated, true]);
    assert.ok(await groth16.verify(key, answer.publicSignals, answer.proof));
    const circuit = JSON.parse(new TextDecoder().decode(files.get('/circuit_vk.json')));
    assert.ok(await groth16.verify(circuit, answer.full.publicSignals, answer.full.proof));
    assert.equal([answer.full.publicSignals, answer.lines], [['7', '36', '1'], ['36']]);
    assert.match(answer.refused, /in a browser there is wasm only/);
    assert.match(answer.gone, /^bad-file: proving key \/gone\.zkey: it could not be fetched \(404/);
  });
}

test('all of it is removed', async () => made && (await made).consumer.remove());

test.run();

/** What a process says that looks for a GPU where there is no driver: our sentence, and nothing of the libraries below. */
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { assert, suite } from '../../harness.ts';
import { temporaryFolder } from '../nats/nats-fixture.ts';

const test = suite('gpu adapter');
const run = promisify(execFile);

const ADAPTER = fileURLToPath(new URL('../../../runtime/gpu/adapter.ts', import.meta.url));
const OPEN = `
  const { openGpu } = await import(${JSON.stringify(ADAPTER)});
  const error = await openGpu().catch((error) => error);
  console.error(error.code + ': ' + error.message);
  console.log(JSON.stringify({ cause: String(error.cause) }));
  process.exit();
`;

/** Opens the adapter in a process with the Vulkan drivers of these manifests only. */
async function open(manifest: string) {
  const { stdout, stderr } = await run(process.execPath, ['--input-type=module', '--eval', OPEN], {
    env: { ...process.env, VK_ICD_FILENAMES: manifest, VK_DRIVER_FILES: manifest },
  });
  return { stderr, ...(JSON.parse(stdout) as { cause: string }) };
}

test('no driver: one sentence, and what the libraries said is its cause', async (t) => {
  if (process.platform !== 'linux') t.skip('the GPU is looked for through Vulkan on Linux only');
  const { stderr, cause } = await open(join(await temporaryFolder(t), 'none.json'));
  assert.is(stderr, 'not-ready: no GPU: WebGPU finds no adapter on this machine\n');
  // A machine without the Vulkan loader says nothing.
  assert.match(cause, /^$|null|vkCreateInstance/);
});

/** The manifest of a driver whose library is this file. */
function driver(folder: string, library: string): string {
  const manifest = join(folder, 'driver.json');
  const ICD = { library_path: library, api_version: '1.3.0' };
  writeFileSync(manifest, JSON.stringify({ file_format_version: '1.0.0', ICD }));
  return manifest;
}

test('a driver that cannot be loaded is none', async (t) => {
  if (process.platform !== 'linux') t.skip('the GPU is looked for through Vulkan on Linux only');
  const folder = await temporaryFolder(t);
  const library = join(folder, 'broken.so');
  writeFileSync(library, 'not a library');
  const { stderr } = await open(driver(folder, library));
  assert.is(stderr, 'not-ready: no GPU: WebGPU finds no adapter on this machine\n');
});

test('a driver that crashes does not take the process with it', async (t) => {
  if (process.platform !== 'linux') t.skip('the GPU is looked for through Vulkan on Linux only');
  const folder = await temporaryFolder(t);
  const [source, library] = [join(folder, 'crash.c'), join(folder, 'crash.so')];
  writeFileSync(source, '__attribute__((constructor)) static void crash(void) { __builtin_trap(); }\n');
  await run('cc', ['-shared', '-fPIC', '-o', library, source]).catch(() => t.skip('there is no C compiler'));
  const { stderr } = await open(driver(folder, library));
  // Without the Vulkan loader nobody loads it.
  assert.match(
    stderr,
    /^not-ready: no GPU: (looking for one ended with SIG\w+|WebGPU finds no adapter on this machine)\n$/,
  );
});

test.run();

/** A checkout works wherever it lies: it finds its own files, and keeps its home among them. */
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { assert, suite } from '../harness.ts';
import { temporaryFolder } from '../runtime/nats/nats-fixture.ts';
import { projectFiles, ROOT } from './sources.ts';

const test = suite('checkout', { timeoutMs: 60_000 });
const run = promisify(execFile);

/** The packed package has its files in a folder `dist`, and a program that looked for that name took a clone for one. */
test('a clone below folders called dist starts', async (t) => {
  const clone = join(await temporaryFolder(t), 'dist', 'x', 'dist');
  for (const path of projectFiles().filter((path) => !path.startsWith('test/'))) {
    mkdirSync(join(clone, dirname(path)), { recursive: true });
    cpSync(join(ROOT, path), join(clone, path));
  }
  symlinkSync(join(ROOT, 'node_modules'), join(clone, 'node_modules'));
  const { VOUCH_HOME: _, ...env } = process.env;
  // Policies name the measurement of the program's own files.
  const words = ['creds', 'client', '--id', 'c1', '--out', 'kit'];
  const { stdout } = await run(process.execPath, [join(clone, 'runtime/commands/cli.ts'), ...words], {
    cwd: clone,
    env,
  });
  assert.match(stdout, /^kit\/client_c1.creds$/m);
  assert.equal(readdirSync(join(clone, '.vouch')).sort(), ['keys', 'nats', 'policies']);
});

test.run();

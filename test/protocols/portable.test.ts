/** The same tests of sealing and signatures where Node's own cryptography is not there, as in a browser. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { assert, suite } from '../harness.ts';

const test = suite('without native cryptography', { timeoutMs: 100_000 });

const WITHOUT = 'data:text/javascript,process.getBuiltinModule = undefined;';
const here = (name: string) => join(import.meta.dirname, name);
const run = (...args: string[]) =>
  spawnSync(process.execPath, ['--import', WITHOUT, ...args], {
    encoding: 'utf8',
    env: { ...process.env, VOUCH_TEST_GREP: '' },
  });

test('it is not there', () => {
  const program = `import { native } from ${JSON.stringify(here('../../protocols/native-crypto.ts'))}; console.log(native)`;
  assert.is(run('--input-type=module', '-e', program).stdout, 'undefined\n');
});

// ed25519.test.ts compares all engines by itself.
for (const name of ['hkdf', 'sealing', 'sealed-stream', 'cose', 'receipt', 'weights'])
  test(`${name}: all passes`, () => {
    const { status, stdout, stderr } = run(here(`${name}.test.ts`));
    assert.is(status, 0, `${stdout}\n${stderr}`);
    assert.match(stdout, /Passed: +[1-9]/);
  });

test.run();

/** `vouch completion`: what bash itself completes with the script. */
import { spawnSync } from 'node:child_process';
import { Command } from '@commander-js/extra-typings';
import { addCommands } from '../../../runtime/commands/commands.ts';
import { script, wordsOf } from '../../../runtime/commands/completion.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('vouch completion', { timeoutMs: 30_000 });

test('bash completes commands, what is below them, and options', async () => {
  const program = new Command('vouch');
  await addCommands(program, () => true);
  const words = wordsOf(program);
  const complete = (...typed: string[]): string[] => {
    const line = `COMP_WORDS=(vouch ${typed.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${typed.length}; _vouch; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { status, stdout, stderr } = spawnSync('bash', ['-c', `${script('bash', words)}\n${line}`], {
      encoding: 'utf8',
      cwd: '/proc/self/fdinfo',
    });
    assert.is(status, 0, stderr);
    return stdout.split('\n').filter(Boolean);
  };
  assert.equal(complete('doc'), ['doctor']);
  assert.equal(complete('gateway', '--api'), ['--api-keys']);
  assert.equal(complete('status', '--wa'), ['--wait']);
  assert.equal(complete('model', 'ad'), ['add']);
  assert.ok(complete('model', 'add', '--').includes('--terms'));
  assert.match(script('fish', words), /^complete -c vouch -n '__fish_use_subcommand' -a '.*gateway/m);
});

test.run();

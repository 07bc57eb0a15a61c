/** `vouch status`: who is there, and why one has failed. */
import { VouchError } from '../../../protocols/errors.ts';
import { statusCommand } from '../../../runtime/commands/status.ts';
import { folder } from '../../../runtime/home/home.ts';
import { gpuRole } from '../../../runtime/roles/gpu.ts';
import { assert, suite } from '../../harness.ts';
import { startHome, until } from '../home/home-fixture.ts';

const test = suite('vouch status', { timeoutMs: 60_000 });

test('a GPU that failed is shown with its reason, which cannot steer the terminal', async (t) => {
  const home = await startHome(t);
  const gpu = await home.role(
    'gpu',
    'g1',
    gpuRole({}, async () => {
      throw new VouchError('not-ready', 'no GPU: the driver says \u001b[2Jnothing');
    }),
  );
  await until(() => gpu.failure() !== undefined);
  const network = { url: home.server.url, creds: folder('creds') };
  const lines: string[] = [];
  await statusCommand({ ...network, json: false }, (line) => void lines.push(String(line)));
  const row = lines.find((line) => line.startsWith('gpu '));
  assert.match(
    row!,
    /^gpu +g1 +failed +no GPU: the driver says \[2Jnothing \(error [0-9a-f-]{36} in the log\)$/,
  );
  assert.not.match(row!, '\u001b');

  const printed: unknown[] = [];
  await statusCommand({ ...network, json: true }, (value) => void printed.push(value));
  const [{ actors }] = printed as [{ actors: { kind: string; failure?: { code: string } }[] }];
  assert.is(actors.find(({ kind }) => kind === 'gpu')?.failure?.code, 'not-ready');
  const { errorId } = gpu.failure()!;
  assert.ok(
    home.log.some((line) => line.includes(errorId)),
    'and the log has it under that id',
  );
});

test.run();

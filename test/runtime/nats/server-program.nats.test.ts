import { findNatsServer } from '../../../runtime/nats/server-program.ts';
import { atLeast, vulnerability, weakness } from '../../../runtime/nats/server-version.ts';
import { assert, suite } from '../../harness.ts';
import { BIN_DIR, codeOf } from './nats-fixture.ts';

const test = suite('nats-server program', { timeoutMs: 60_000 });

test('versions are compared by number', () => {
  assert.ok(atLeast('2.10.27', '2.10.23'));
  assert.ok(atLeast('2.10.0', '2.9.25'));
  assert.ok(atLeast('2.15.1-RC.1', '2.15.1'));
  assert.not(atLeast('2.9.10', '2.10.0'));
  assert.match(weakness('2.9.10')!, /power cut/);
  assert.is(weakness('2.10.27'), undefined);
});

test('a server on which rights do not hold is named with its CVE', () => {
  const vulnerable: [string, RegExp][] = [
    ['2.9.10', /CVE-2025-30215.*2\.10\.27/],
    ['2.10.26', /CVE-2025-30215.*2\.10\.27/],
    ['2.11.0', /CVE-2025-30215.*2\.11\.15/],
    ['2.11.14', /CVE-2026-33249.*2\.11\.15/],
    ['2.12.0', /CVE-2026-33249.*2\.12\.6/],
    ['2.12.5', /CVE-2026-33249.*2\.12\.6/],
    ['1.4.1', /CVE-2025-30215/],
  ];
  for (const [version, words] of vulnerable) assert.match(vulnerability(version) ?? '', words, version);
  for (const version of ['2.10.27', '2.10.29', '2.11.15', '2.12.6', '2.14.0', '2.15.1', '3.0.0'])
    assert.is(vulnerability(version), undefined, version);
});

test('NATS_SERVER is used, and refused with a sentence when it is no nats-server', async (t) => {
  const before = process.env.NATS_SERVER;
  t.defer(() => {
    if (before === undefined) delete process.env.NATS_SERVER;
    else process.env.NATS_SERVER = before;
  });
  const { path } = await findNatsServer({ binDir: BIN_DIR });
  process.env.NATS_SERVER = path;
  assert.is((await findNatsServer({ binDir: '/nonexistent' })).path, path);
  process.env.NATS_SERVER = '/bin/true';
  assert.is(await codeOf(findNatsServer({ binDir: BIN_DIR })), 'nats-feature');
});

test.run();

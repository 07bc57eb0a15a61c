/**
 * The gateway in front of a real runner: what programs of its owner get, and what others do not: a page in his browser,
 * another user of his machine, whoever runs NATS.
 */
import { chmodSync, readdirSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import type { Policy } from '../../../protocols/attestation/policy.ts';
import { readKeys } from '../../../runtime/gateway/guard.ts';
import { type GatewayOptions, startGateway } from '../../../runtime/gateway/server.ts';
import { folder } from '../../../runtime/home/home.ts';
import { publishModel } from '../../../runtime/models/publish.ts';
import { startRoles, stopRoles } from '../../../runtime/roles/start.ts';
import { smallModel } from '../../circuits/model-fixture.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import { startHome } from '../home/home-fixture.ts';
import { codeOf, temporaryFolder } from '../nats/nats-fixture.ts';

const test = suite('gateway', { timeoutMs: 90_000 });
const ROW = ['7', '-1', '4', '11'];
const KEY = 'k'.repeat(40);

async function started(t: TestContext, options: Partial<GatewayOptions> & { strict?: Partial<Policy> } = {}) {
  const home = await startHome(t);
  await publishModel(home.observer, 'provisioner.test', {
    name: 'tiny',
    model: smallModel({ units: [4, 3, 2] }),
    policy: home.policies.release,
  });
  const host = { url: home.server.url, creds: folder('creds'), id: 'e1', model: 'tiny', log: home.say };
  const start = () => startRoles(['broker', 'runner', 'gpu', 'enclave'], host);
  let roles = await start();
  t.defer(() => stopRoles(roles, home.say));
  const bus = await home.bus('client', 'one');
  const gateway = await startGateway({
    bus,
    source: 'client.one',
    policy: { ...home.policies.inference, ...options.strict },
    port: 0,
    version: '1',
    log: home.say,
    ...options,
  });
  t.defer(() => gateway.close());
  const ask = (path: string, init: RequestInit = {}) => fetch(`${gateway.url}${path}`, init);
  return {
    home,
    gateway,
    ask,
    post: (path: string, body: unknown, headers: Record<string, string> = {}) =>
      ask(path, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
    async restart() {
      await stopRoles(roles, home.say);
      roles = await start();
    },
  };
}

const json = async (response: Response) => (await response.json()) as Record<string, unknown>;
const RAW = {
  id: 'q1',
  inputs: [{ name: 'rows', shape: [2, 4], datatype: 'BYTES', data: [...ROW, ...ROW] }],
};

/** By hand, since fetch sets Host itself. */
const rawStatus = (url: string, headers: Record<string, string>, method = 'GET', body = '') =>
  new Promise<number>((resolve, reject) => {
    const sent = httpRequest(url, { method, headers }, (response) => {
      response.resume();
      resolve(response.statusCode!);
    });
    sent.on('error', reject).end(body);
  });

test("it speaks the Open Inference Protocol, and every answer's receipt is kept and verifies", async (t) => {
  const receipts = join(await temporaryFolder(t), 'receipts');
  const { ask, post, restart } = await started(t, { receipts });
  assert.equal(await json(await ask('/v2/health/live')), { live: true });
  assert.equal(await json(await ask('/v2/health/ready')), { ready: true });
  assert.equal(await json(await ask('/v2')), { name: 'vouch', version: '1', extensions: [] });
  assert.equal(await json(await ask('/v2/models/tiny/ready')), { name: 'tiny', ready: true });
  const model = await json(await ask('/v2/models/tiny'));
  const names = (model.inputs as { name: string }[]).map(({ name }) => name);
  assert.is(names.length, 4);
  const [version] = model.versions as string[];
  assert.is((await ask(`/v2/models/tiny/versions/${version}/ready`)).status, 200);
  assert.is((await ask('/v2/models/tiny/versions/77/ready')).status, 404);
  assert.is((await ask('/v2/models/nobody')).status, 404);

  const raw = await post('/v2/models/tiny/infer', RAW);
  assert.is(raw.status, 200, await raw.clone().text());
  const answer = await json(raw);
  assert.equal([answer.model_name, answer.model_version, answer.id], ['tiny', version, 'q1']);
  const outputs = new Map(
    (answer.outputs as { name: string; data: string[] }[]).map((o) => [o.name, o.data]),
  );
  const ids = outputs.get('receipt')!;
  assert.equal(
    [raw.headers.get('vouch-verdict'), raw.headers.get('vouch-evidence')],
    ['accept', 'SIMULATED'],
  );
  assert.is(raw.headers.get('vouch-receipt'), ids.join(','));
  assert.is(raw.headers.get('access-control-allow-origin'), null);
  assert.ok(new Set(ids).size === 2 && ids.every((id) => readdirSync(receipts).includes(`${id}.cose`)));

  const byName = await post(`/v2/models/tiny/versions/${version}/infer`, {
    inputs: names.map((name, i) => ({ name, shape: [1], datatype: 'INT64', data: [Number(ROW[i])] })),
    outputs: [{ name: 'label' }],
  });
  assert.equal((await json(byName)).outputs, [
    { name: 'label', datatype: 'BYTES', shape: [1], data: [outputs.get('label')![0]!] },
  ]);
  const csv = await post('/decide/tiny', `${names.join(',')}\n${ROW.join(',')}\n`, {
    'Content-Type': 'text/csv',
  });
  const [decided] = (await json(csv)).decisions as { label: string; verdict: string }[];
  assert.equal([decided!.label, decided!.verdict], [outputs.get('label')![0], 'accept']);

  // The enclave comes back with other keys: nobody notices.
  await restart();
  const many = await Promise.all(Array.from({ length: 8 }, () => post('/v2/models/tiny/infer', RAW)));
  assert.equal(
    many.map(({ status }) => status),
    Array(8).fill(200),
  );
  const metrics = await (await ask('/metrics')).text();
  assert.match(metrics, 'vouch_gateway_rows_total{model="tiny"} 20');
  assert.match(metrics, /vouch_evidence_expiry_seconds\{model="tiny"\} \d{10}/);
  const paths = (await json(await ask('/openapi.json'))).paths as Record<string, object>;
  for (const [path, methods] of Object.entries(paths)) {
    const at = path.replace('{model}', 'tiny').replace('{version}', version!);
    const status = 'post' in methods ? (await post(at, {})).status : (await ask(at)).status;
    assert.is(status, 'post' in methods ? 400 : 200, at);
  }
});

test('what is wrong with a request is one sentence, and nothing was sealed', async (t) => {
  const { post } = await started(t, { requests: 1 });
  const tensor = RAW.inputs[0]!;
  const wrong: [unknown, RegExp, number?][] = [
    ['{', /expected a body of JSON/],
    [{}, /request\.inputs/],
    [{ inputs: [{ ...tensor, shape: [2, 3] }] }, /expected shape \[N, 4\]/],
    [{ inputs: [{ ...tensor, data: ROW }] }, /expected 8 values/],
    [{ inputs: [{ ...tensor, datatype: 'INT64' }] }, /expected a value of INT64/],
    [{ inputs: [{ ...tensor, shape: [0, 4], data: [] }] }, /1 to 1024 rows/],
    [{ ...RAW, outputs: [{ name: 'weights' }] }, /expected names among/],
    [{ inputs: [{ ...tensor, shape: [1, 4], data: ['x', '1', '1', '1'] }] }, /./],
  ];
  for (const [body, expected, status = 400] of wrong) {
    const refused = await post('/v2/models/tiny/infer', body);
    const { error, ...rest } = await json(refused);
    assert.match(String(error), expected);
    assert.equal([refused.status, rest], [status, {}], String(error));
  }
  const long = await post('/v2/models/tiny/infer', JSON.stringify({ x: 'y'.repeat(9 * 1024 * 1024) }));
  assert.is(long.status, 413);
  assert.is(typeof (await json(long)).error, 'string');
  const burst = await Promise.all(Array.from({ length: 6 }, () => post('/v2/models/tiny/infer', RAW)));
  const busy = burst.filter(({ status }) => status === 429);
  assert.ok(busy.length > 0 && burst.some(({ status }) => status === 200));
  assert.is(busy[0]!.headers.get('retry-after'), '1');
});

test("a page in the owner's browser gets nothing, and starts nothing", async (t) => {
  const { gateway, ask } = await started(t);
  const { port } = new URL(gateway.url);
  const status = (headers: Record<string, string>, method = 'GET', body = '') =>
    rawStatus(`${gateway.url}/v2/models/tiny/infer`, headers, method, body);
  const here = `127.0.0.1:${port}`;
  // A name that was made to point here, as a rebinding page says it.
  assert.is(await status({ host: `evil.example:${port}` }), 421);
  assert.is(
    await status({ host: `evil.example:${port}`, 'content-type': 'application/json' }, 'POST', '{}'),
    421,
  );
  // A form, and what fetch sends without asking first.
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x'])
    assert.is(await status({ host: here, 'content-type': type }, 'POST', JSON.stringify(RAW)), 415);
  const foreign = { host: here, origin: 'https://evil.example', 'content-type': 'application/json' };
  assert.is(await status(foreign, 'POST', JSON.stringify(RAW)), 403);
  assert.is(await status({ ...foreign, 'access-control-request-method': 'POST' }, 'OPTIONS'), 403);
  assert.is(
    await status({ host: here, origin: 'null', 'content-type': 'application/json' }, 'POST', '{}'),
    403,
  );
  assert.is(await status({ host: here, 'sec-fetch-site': 'cross-site' }), 403);
  assert.match(await (await ask('/metrics')).text(), 'vouch_gateway_errors_total{code="refused"} 6');
  assert.not.match(await (await ask('/metrics')).text(), 'vouch_gateway_rows_total{');
});

test('beyond loopback keys are demanded, and another user without one gets nothing', async (t) => {
  const { home, ask, gateway } = await started(t, { keys: [KEY, 'o'.repeat(40)] });
  for (const authorization of [undefined, `Bearer ${KEY}x`, KEY, 'Bearer ', `Basic ${KEY}`]) {
    const refused = await ask('/v2/models/tiny', { headers: authorization ? { authorization } : {} });
    assert.equal([refused.status, refused.headers.get('www-authenticate')], [401, 'Bearer'], authorization);
  }
  assert.is((await ask('/metrics')).status, 401);
  assert.is((await ask('/healthz')).status, 200);
  assert.is((await ask('/v2/models/tiny', { headers: { authorization: `Bearer ${KEY}` } })).status, 200);
  assert.not.match(home.log.join('\n'), KEY);

  const options = {
    bus: await home.bus('client', 'two'),
    source: 'client.two',
    policy: home.policies.inference,
  };
  const open = startGateway({ ...options, host: '0.0.0.0', port: 0, version: '1', log: home.say });
  assert.is(await codeOf(open), 'bad-input');
  const taken = startGateway({
    ...options,
    port: Number(new URL(gateway.url).port),
    version: '1',
    log: home.say,
  });
  assert.is(await codeOf(taken), 'bad-input');

  const file = join(await temporaryFolder(t), 'keys');
  writeFileSync(file, `# ours\n${KEY}\n`, { mode: 0o600 });
  assert.equal(readKeys(file), [KEY]);
  chmodSync(file, 0o644);
  assert.throws(() => readKeys(file), /chmod 600/);
  writeFileSync(file, 'short\n');
  assert.throws(() => readKeys(file), /at least 32 characters/);
});

test('whoever runs NATS and the enclave gets no application that the policy does not allow', async (t) => {
  const { ask, post } = await started(t, { strict: { measurements: ['ab'.repeat(48)] } as Partial<Policy> });
  const ready = await ask('/v2/models/tiny/ready');
  assert.equal([ready.status, await json(ready)], [503, { name: 'tiny', ready: false }]);
  const refused = await post('/v2/models/tiny/infer', RAW);
  assert.is(refused.status, 502);
  assert.match(String((await json(refused)).error), /^(evidence|policy)-rejected: .*policy\.measurement/);
});

test.run();

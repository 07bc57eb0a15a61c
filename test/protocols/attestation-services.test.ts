/**
 * Evidence in the JSON of services, their rules of what report data binds, several machines in one call, and the text
 * forms of tools. Sources: those named in protocols/attestation/evidence-json.ts and binding-recipes.ts; issue 11, "What
 * real users bring".
 */
import { createHash } from 'node:crypto';
import { FACTS, RECIPE_NAMES, RECIPES, type Recipe } from '../../protocols/attestation/binding-recipes.ts';
import { base64url, concat, fromHex, hex, sha256, sha512, utf8 } from '../../protocols/encoding.ts';
import { assert, suite } from '../harness.ts';
import { flip } from './certificate-maker.ts';
import {
  aael,
  base64,
  binaryLog,
  bootEvent,
  COMPOSE,
  device,
  json,
  LOG,
  type LogEvent,
  nvidiaEntry,
  pem,
  registersOf,
  runtimeEvent,
  td,
  tinfoil,
} from './service-maker.ts';
import { ask, failing, quoteJson } from './service-question.ts';
import { arkCrl, arkDer, askDer, snpReport, vcekDer } from './snp-maker.ts';

const test = suite('evidence in the JSON of services', { timeoutMs: 120_000 });
const sha384Hex = (bytes: Uint8Array): string => createHash('sha384').update(bytes).digest('hex');
const zeros = (bytes: Uint8Array, length: number) => concat(bytes, new Uint8Array(length - bytes.length));
const NONCE = new Uint8Array(32).fill(0x5a);
const ADDRESS = new Uint8Array(20).fill(0xad);
const TLS = new Uint8Array(32).fill(0x71);
const HPKE = new Uint8Array(32).fill(0x72);
test("dstack's quote and event log: boot registers, runtime events of both versions, stated report data", async () => {
  const data = zeros(utf8('what the app had bound'), 64);
  const machine = await td(data);
  assert.equal(await failing([machine], [quoteJson(machine, data)]), []);
  const { checks } = await ask([machine], [quoteJson(machine, data)]);
  const log = checks.find(({ id }) => id === 'tdx.event-log')!;
  assert.match(log.detail, new RegExp(`compose-hash ${hex(COMPOSE)}, app-id`));
  // A rule of the verifier's own comes beside that of the file, never in its place.
  const both = { binding: { recipe: 'nonce' as const, values: { nonce: data } } };
  assert.equal(await failing([machine], [quoteJson(machine, data)], both), []);
  assert.equal(await failing([machine], [quoteJson(machine, flip(data, 1))], both), ['binding.dstack']);
  // What the file says of itself is not what the verifier asked for.
  const { status, detail } = checks.find(({ id }) => id === 'evidence.nonce')!;
  assert.is(status, 'skipped');
  assert.match(detail, /what came with it alone/);
  // As an array, as base64, and with the log in a file of its own.
  const bare = json({ quote: base64(machine.quote) });
  assert.equal(await failing([machine], [json({ quote: base64url(machine.quote), event_log: LOG })]), []);
  assert.equal(await failing([machine], [bare, json(LOG)]), []);
  assert.equal(await failing([machine], [machine.quote, json(LOG)]), []);
  assert.equal(await failing([machine], [quoteJson(machine, flip(data, 63))]), ['binding.dstack']);
});

test('a log that was changed, cut or reordered does not replay', async () => {
  const machine = await td(new Uint8Array(64));
  const judged = (log: readonly LogEvent[]) => failing([machine], [machine.quote, json(log)]);
  const changed = (at: number, change: Partial<LogEvent>) =>
    LOG.map((event, i) => (i === at ? { ...event, ...change } : event));
  assert.equal(await judged(LOG.slice(0, -1)), ['tdx.rtmr-replay']);
  assert.equal(await judged(LOG.toSpliced(3, 2, LOG[4]!, LOG[3]!)), ['tdx.rtmr-replay']);
  // Without a digest of its own the event is what its name and payload say.
  assert.equal(await judged(changed(4, { event_payload: hex(flip(COMPOSE, 0)) })), ['tdx.rtmr-replay']);
  assert.equal(await judged(changed(4, { event: 'compose-hast' })), ['tdx.rtmr-replay']);
  assert.equal(await judged(changed(5, { event_payload: hex(flip(COMPOSE, 0)) })), ['tdx.event-digests']);
  assert.equal(await judged(changed(0, { event_payload: '00' })), ['tdx.event-digests']);
  assert.equal(await judged(changed(0, { imr: 1 })), ['tdx.rtmr-replay']);
  assert.equal(await judged(changed(0, { imr: 4 })), ['tdx.event-log']);
  // dstack leaves the boot out of some logs; RTMR3 has to be there.
  const runtime = LOG.filter(({ imr }) => imr === 3);
  assert.equal(await judged(runtime), []);
  assert.equal(await judged(LOG.filter(({ imr }) => imr !== 3)), ['tdx.rtmr-replay']);
  assert.equal(await judged([bootEvent(0, 'another firmware'), ...runtime]), ['tdx.rtmr-replay']);
  assert.is(registersOf(LOG).length, 4);
  assert.equal(await judged([...runtime, runtimeEvent('compose-hash', new Uint8Array(32))]), [
    'tdx.rtmr-replay',
  ]);
});

test("events of Confidential Containers' attestation agent are those of their texts", async () => {
  const texts = ['coco.com launch image', 'coco.com run {"a":1}'];
  const events = texts.map((text) => ({ register: 4, type: 6, payload: aael(text) }));
  const rtmr3 = events.map(({ payload }) => ({ ...bootEvent(3, ''), digest: sha384Hex(payload) }));
  const machine = await td(new Uint8Array(64), rtmr3);
  const coco = (log: Uint8Array) => json({ quote: base64(machine.quote), cc_eventlog: base64(log) });
  assert.equal(await failing([machine], [coco(binaryLog(events))]), []);
  assert.equal(await failing([machine], [machine.quote, binaryLog(events)]), []);
  assert.equal(await failing([machine], [coco(binaryLog(events.slice(1)))]), ['tdx.rtmr-replay']);
  // The digest as it was measured, under another text.
  const digest = fromHex(sha384Hex(events[0]!.payload));
  const forged = [{ ...events[0]!, payload: aael('coco.com launch other'), digest }, events[1]!];
  assert.equal(await failing([machine], [coco(binaryLog(forged))]), ['tdx.event-digests']);
});

test("Phala's report: quote, GPUs and the key that signs answers are bound to each other", async () => {
  const machine = await td(concat(zeros(ADDRESS, 32), NONCE));
  const gpu = await device(NONCE);
  const report = (changes: object = {}, payload: object = {}) =>
    json({
      signing_address: `0x${hex(ADDRESS)}`,
      signing_algo: 'ecdsa',
      request_nonce: hex(NONCE),
      intel_quote: hex(machine.quote),
      nvidia_payload: JSON.stringify({
        nonce: hex(NONCE),
        evidence_list: [nvidiaEntry(gpu)],
        arch: 'HOPPER',
        ...payload,
      }),
      event_log: LOG,
      info: { tcb_info: {} },
      ...changes,
    });
  assert.equal(await failing([machine], [report()]), []);
  assert.equal(await failing([machine], [report()], { nonce: hex(NONCE) }), []);
  assert.equal(await failing([machine], [report()], { nonce: '01'.repeat(32) }), [
    'binding.phala',
    'gpu.nonce',
  ]);
  assert.equal(await failing([machine], [report({ signing_address: `0x${'00'.repeat(20)}` })]), [
    'binding.phala',
  ]);
  assert.equal(await failing([machine], [report({ request_nonce: '01'.repeat(32) })]), [
    'binding.phala',
    'gpu.nonce',
  ]);
  const old = await device(new Uint8Array(32));
  assert.equal(await failing([machine], [report({}, { evidence_list: [nvidiaEntry(old)] })]), ['gpu.nonce']);
  // What came and cannot be read is never passed over.
  for (const payload of ['{', '{}', JSON.stringify({ evidence_list: [{}] })]) {
    assert.ok(
      (await failing([machine], [report({ nvidia_payload: payload })])).includes('evidence.files'),
      payload,
    );
  }
  const none = JSON.stringify({ nonce: hex(NONCE), evidence_list: [], arch: 'HOPPER' });
  assert.equal(await failing([machine], [report({ nvidia_payload: none })]), []);
  // Two reports of one quote that name different keys are two: none of them is dropped.
  const wrong = report({ signing_address: `0x${'00'.repeat(20)}` });
  const beside = {
    ...JSON.parse(new TextDecoder().decode(wrong)),
    all_attestations: [JSON.parse(new TextDecoder().decode(report()))],
  };
  assert.equal(await failing([machine], [json(beside)]), ['binding.phala']);
  // NEAR AI hashes the address together with the key of the connection.
  const near = await td(concat(sha256(ADDRESS, TLS), NONCE));
  const nearReport = (tls: Uint8Array) =>
    json({
      model_attestations: [
        {
          signing_address: hex(ADDRESS),
          request_nonce: hex(NONCE),
          intel_quote: hex(near.quote),
          tls_cert_fingerprint: hex(tls),
        },
      ],
    });
  assert.equal(await failing([near], [nearReport(TLS)]), []);
  assert.equal(await failing([near], [nearReport(flip(TLS, 0))]), ['binding.phala']);
  assert.equal(await failing([machine], [report({ quote: hex(machine.quote) })]), []);
  assert.ok((await failing([machine], [report({ quote: hex(near.quote) })])).includes('evidence.files'));
});

test('Tinfoil: documents of three versions, compressed and not, and the bundle', async () => {
  const keys = concat(TLS, HPKE);
  const machine = await td(keys);
  const document = tinfoil('tdx', machine.quote);
  assert.equal(await failing([machine], [json(document)]), []);
  assert.equal(await failing([machine], [json(tinfoil('tdx', machine.quote, false))]), []);
  const bound = (values: object) => ({ binding: { recipe: 'tinfoil-v2' as const, values } });
  assert.equal(await failing([machine], [json(document)], bound({ tlsKey: TLS, hpkeKey: HPKE })), []);
  assert.equal(await failing([machine], [json(document)], bound({ tlsKey: TLS })), []);
  assert.equal(await failing([machine], [json(document)], bound({ tlsKey: HPKE })), ['binding.tinfoil-v2']);
  assert.equal(await failing([machine], [json(document)], bound({})), ['binding.tinfoil-v2']);

  const snp = await snpReport({ reportData: zeros(sha256(new Uint8Array(1)), 64) });
  const bundle = { domain: 'x', enclaveAttestationReport: tinfoil('sev-snp', snp), vcek: base64(vcekDer) };
  assert.equal(await failing([], [json(bundle), askDer, arkDer, arkCrl]), []);
  const served = { ...bundle, enclaveCert: pem(vcekDer) };
  assert.equal(await failing([], [json(served), askDer, arkDer, arkCrl]), ['binding.tinfoil-v2']);
});

test("Tinfoil's version 3 binds keys, nonce and devices by hash, in both of its forms", async () => {
  const gpu = await device(NONCE);
  const list = { evidences: [nvidiaEntry(gpu)] };
  const digest = sha256(json(list));
  const early = await td(zeros(sha256(TLS, HPKE, NONCE, digest), 64));
  const keys = (changes: object = {}, rest: object = {}) =>
    json({
      format: 'https://tinfoil.sh/predicate/attestation/v3',
      report_data: {
        tls_key_fp: hex(TLS),
        hpke_key: hex(HPKE),
        nonce: hex(NONCE),
        gpu_evidence_hash: hex(digest),
        ...changes,
      },
      cpu: { platform: 'tdx', report: base64(early.quote) },
      gpu: list,
      ...rest,
    });
  assert.equal(await failing([early], [keys()]), []);
  assert.equal(await failing([early], [keys({ hpke_key: hex(flip(HPKE, 3)) })]), ['binding.tinfoil-v3-keys']);
  // The digest that is stated counts for nothing: that of what came does.
  const another = { evidences: [nvidiaEntry(await device(NONCE))] };
  assert.equal(await failing([early], [keys({}, { gpu: another })]), ['binding.tinfoil-v3-keys']);

  const cryptoMaterial = json({
    format: 'https://tinfoil.sh/crypto-material/v1',
    items: [{ id: 'tls', format: 'x', data: hex(TLS) }],
  });
  const devices = json({
    format: 'https://tinfoil.sh/device-evidence/v1',
    items: [{ id: 'gpu', kind: 'gpu', vendor: 'nvidia', format: 'y', evidence: list }],
  });
  const label = utf8('https://tinfoil.sh/report-data/v1');
  for (const parts of [[label], []]) {
    const late = await td(zeros(sha256(...parts, NONCE, sha256(cryptoMaterial), sha256(devices)), 64));
    const document = (changes: object = {}) =>
      json({
        format: 'https://tinfoil.sh/predicate/attestation/v3',
        challenge: {
          nonce: hex(NONCE),
          report_data: '00',
          report_data_algorithm: 'https://tinfoil.sh/report-data/v1',
        },
        cpu_evidence: { format: 'https://tinfoil.sh/format/tdx-quote/v1', report_base64: base64(late.quote) },
        crypto_material: base64(cryptoMaterial),
        device_evidence: base64(devices),
        collateral: [],
        ...changes,
      });
    assert.equal(await failing([late], [document()], { nonce: hex(NONCE) }), []);
    const other = base64(utf8(`${new TextDecoder().decode(cryptoMaterial)} `));
    assert.equal(await failing([late], [document({ crypto_material: other })]), ['binding.tinfoil-v3']);
    assert.equal(await failing([late], [document()], { nonce: '00'.repeat(32) }), [
      'binding.tinfoil-v3',
      'gpu.nonce',
    ]);
  }
});

test('every rule has a source, and says what it needs', async () => {
  const key = new Uint8Array(91).fill(4);
  const data = utf8('data');
  const cases: Readonly<Record<string, readonly [Uint8Array, object]>> = {
    dstack: [zeros(data, 64), { data }],
    nonce: [zeros(NONCE, 64), { nonce: NONCE }],
    'dstack-app-data': [sha512(utf8('app-data:data')), { data }],
    'dstack-ratls': [sha512(utf8('ratls-cert:'), key), { key }],
    trustee: [zeros(sha256(data), 64), { data }],
  };
  for (const name of RECIPE_NAMES) {
    const { needs, may = [], source, title }: Recipe = RECIPES[name];
    assert.ok(
      [...needs, ...may].every((fact) => Object.hasOwn(FACTS, fact)),
      name,
    );
    assert.match(source, /^github\.com\//);
    assert.ok(title.startsWith('report data ='), name);
    const [reportData, values] = cases[name] ?? [];
    if (reportData === undefined) continue;
    const machine = await td(reportData);
    const binding = (all: object) => ({ binding: { recipe: name, values: all } });
    assert.equal(await failing([machine], [machine.quote], binding(values!)), [], name);
    const [fact, value] = Object.entries(values!)[0]!;
    const wrong = { [fact]: flip(value as Uint8Array, 0) };
    assert.equal(await failing([machine], [machine.quote], binding(wrong)), [`binding.${name}`], name);
    assert.equal(await failing([machine], [machine.quote], binding({})), [`binding.${name}`], name);
  }
  // The verifier's nonce is the one that has to be bound, whatever a file says.
  const machine = await td(zeros(NONCE, 64));
  const rule = { binding: { recipe: 'nonce' as const, values: {} } };
  assert.equal(await failing([machine], [machine.quote], { ...rule, nonce: hex(NONCE) }), []);
  assert.equal(await failing([machine], [machine.quote], { ...rule, nonce: '00'.repeat(32) }), [
    'binding.nonce',
  ]);
});

test.run();

/**
 * Every command against one running demonstration, from its own host and from others.
 *
 * One file, although it is long: starting the demonstration is most of its time.
 */
import { existsSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { preprocessingOf } from '../../../circuits/model/dictionary.ts';
import { networkFromOnnx } from '../../../circuits/model/graph.ts';
import { onnxFromNetwork } from '../../../circuits/model/network.ts';
import { readOnnx } from '../../../circuits/model/onnx.ts';
import { writeOnnx } from '../../../circuits/model/onnx-writer.ts';
import { preprocess } from '../../../circuits/model/preprocessing.ts';
import { decideMany, quantise } from '../../../circuits/model/quantise.ts';
import { EvidenceReply, EvidenceRequest } from '../../../protocols/enclave.ts';
import { canonicalJson } from '../../../protocols/encoding.ts';
import { decodeMessage, ENVELOPE_HEADER, ErrorReply, encodeMessage } from '../../../protocols/envelope.ts';
import { MAX_SEALED_REQUEST_BYTES } from '../../../protocols/inference.ts';
import type { PublishedProof, QualityStatement } from '../../../protocols/proof.ts';
import { subjects } from '../../../protocols/subjects.ts';
import { infer, sendSealed, verifyService } from '../../../runtime/client/client.ts';
import { inferCommand } from '../../../runtime/commands/infer.ts';
import { addModelCommand } from '../../../runtime/commands/model.ts';
import { statusCommand } from '../../../runtime/commands/status.ts';
import { verifyCommand } from '../../../runtime/commands/verify.ts';
import { sampleData } from '../../../runtime/demo/sample.ts';
import { train } from '../../../runtime/demo/trainer.ts';
import { readPolicy } from '../../../runtime/installation/policies.ts';
import { CREDIT, readCreditData } from '../../../runtime/models/credit-data.ts';
import { split } from '../../../runtime/models/labelled-rows.ts';
import { connect } from '../../../runtime/nats/connect.ts';
import { powersOfTau } from '../../circuits/powers-of-tau.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import { codeOf } from '../nats/nats-fixture.ts';
import {
  type Ended,
  eventually,
  newHome,
  processesOf,
  type Started,
  start,
  unfinished,
  vouch,
} from './cli-fixture.ts';

const test = suite('cli', { timeoutMs: 300_000 });
const MODEL = 'credit';
/** Few enough for a small circuit, enough for a model that beats a constant answer. */
const ROWS = 120;
const PTAU = resolve(import.meta.dirname, '../../../../shared/prover/test12.ptau');

const home = newHome();
// Commands that run in this process belong to the same installation.
process.env.VOUCH_HOME = home;
const testSet = join(home, 'models', `${MODEL}.test.data`);
let demo: Started;
let url = '';

const ok = ({ code, stdout, stderr }: Ended): string => {
  assert.is(code, 0, stderr);
  return stdout;
};
const refused = ({ code, stdout, stderr }: Ended, code_: number, sentence: RegExp): void => {
  assert.is(code, code_, stderr);
  assert.match(stdout + stderr, sentence);
  assert.not.match(stderr, /\n\s+at |defect/);
};
const json = (ended: Ended): never => JSON.parse(ok(ended)) as never;
const lines = (text: string): string[] => text.trim().split('\n');
const rows = (count: number): string[] => lines(readFileSync(testSet, 'utf8')).slice(0, count);
const states = async (): Promise<Map<string, string>> => {
  const { actors } = JSON.parse(
    await printedBy((print) => statusCommand({ ...here(), json: true }, print)),
  ) as {
    actors: { kind: string; id: string; state: string }[];
  };
  return new Map(actors.map(({ kind, id, state }) => [`${kind} ${id}`, state]));
};
const flipped = (row: string): string => row.replace(/[12]$/, (label) => (label === '1' ? '2' : '1'));
/** Those of so many test rows that the model decides as they are labelled. */
async function rowsDecidedRight(count: number): Promise<string[]> {
  const all = rows(count);
  const cells = all.map((row) => row.split(' ').slice(0, -1).join(' ')).join('\n');
  const answers = lines(ok(await vouch(home, ['infer', MODEL, '-', '--json'], cells)));
  return all.filter((row, i) => {
    const { decision } = JSON.parse(answers[i]!) as { decision: number };
    return row.endsWith(` ${decision + 1}`);
  });
}
const receipts = (): string[] =>
  readdirSync(join(home, 'receipts'))
    .filter((file) => file.endsWith('.cose'))
    .sort();

/** A command in this process: what it prints, or the code of its error and the sentence. Exit codes are cli.nats.test.ts's business. */
async function printedBy(command: (print: (value: unknown) => void) => Promise<unknown>): Promise<string> {
  const out: string[] = [];
  try {
    await command((value) => void out.push(typeof value === 'string' ? value : JSON.stringify(value)));
  } catch (error) {
    out.push(`${(error as { code?: string }).code}: ${(error as Error).message}`);
  }
  return out.join('\n');
}
const here = () => ({ url, creds: join(home, 'creds'), json: false });

/** A host of its own with what `vouch creds` gave it. */
async function otherHost(roles: string[], id: string): Promise<{ host: string; kit: string }> {
  const host = newHome();
  const kit = join(host, 'given');
  ok(await vouch(home, ['creds', ...roles, '--id', id, '--out', kit]));
  return { host, kit };
}

/** Starts roles until the test ends, when they have to stop by themselves with code 0. */
function running(t: TestContext, host: string, words: string[]): Started {
  const child = start(host, ['start', ...words]);
  t.defer(async () => {
    child.kill('SIGTERM');
    const { code, stderr } = await child.ended;
    assert.is(code, 0, stderr);
  });
  return child;
}

test('npm start comes up, says what it shows, and writes down where it runs', async () => {
  const data = join(home, 'some.data');
  writeFileSync(data, lines(sampleData(1)).slice(0, ROWS).join('\n'));
  demo = start(home, ['demo', '--data', data]);
  await demo.line(/Up until Ctrl-C/);
  const context = JSON.parse(readFileSync(join(home, 'context.json'), 'utf8')) as { url: string };
  url = context.url;
  assert.match(url, /^nats:\/\/127\.0\.0\.1:\d+$/);
  for (const step of ['NATS', 'Vendor', 'Host', 'Client', 'Proof', 'Summary'])
    await demo.line(new RegExp(`^(\\[\\d\\] )?${step}.*`));
  // No GPU is bound and none is demanded; all else has to pass.
  await demo.line(/accept: SIMULATED, 19 of 20 checks passed, 1 skipped/);
  await demo.line(/skipped +gpu\.bound +SIMULATED: no GPU evidence, and none demanded/);
  // Nobody logged the rows of the demonstration before its model.
  await demo.line(/verified with snarkjs: \d+ of \d+ checks passed, 1 skipped/);
  await demo.line(/skipped +proof\.rows-fixed/);
  await demo.line(/runtime\/vouch\.mjs status$/);
});

test('a second start on the same folder', async () => {
  refused(
    await vouch(home, ['demo', '--once']),
    2,
    /another npm start \(process \d+\) uses .*: stop it first/,
  );
});

test('status: every actor, for people and for programs', async () => {
  const seen = await states();
  for (const actor of ['enclave enclave-1', 'runner enclave-1', 'broker enclave-1', 'supervisor host-1'])
    assert.ok(seen.has(actor), actor);
  assert.is(seen.get('worker worker-1'), 'idle');
  assert.is(seen.get('coordinator coordinator-1'), 'admitting');
  const status = json(await vouch(home, ['status', '--json'])) as {
    server: { url: string };
    actors: unknown[];
  };
  assert.is(status.server.url, url);
  assert.is(status.actors.length, seen.size);
  assert.match(ok(await vouch(home, ['status'])), /^worker +worker-2 +idle +attested, .*G2 points\/s$/m);
});

test('infer: every form of input, the same decisions', async () => {
  const [first, second] = rows(2).map((row) => row.split(' ').slice(0, -1)) as [string[], string[]];
  const names = preprocessingOf(CREDIT).columns.map(({ name }) => name);
  const object = (cells: string[]) =>
    Object.fromEntries(names.map((name, i) => [name, /^\d+$/.test(cells[i]!) ? Number(cells[i]) : cells[i]]));
  const forms: Record<string, string> = {
    'separated by spaces, with the label': `${rows(2).join('\n')}\n`,
    'CSV with a header': [names, first, second].map((cells) => cells.join(',')).join('\r\n'),
    'array of arrays': JSON.stringify([first, second]),
    'array of objects': JSON.stringify([object(first), object(second)]),
  };
  const file = join(home, 'applications');
  const decided: string[][] = [];
  for (const [form, text] of Object.entries(forms)) {
    writeFileSync(file, text);
    const out = lines(await printedBy((print) => inferCommand(MODEL, file, here(), print)));
    assert.is(out.length, 2, form);
    decided.push(out.map((line) => line.split('\t')[0]!));
    for (const line of out) assert.ok(existsSync(line.split('\t')[2]!), form);
  }
  for (const one of decided) assert.equal(one, decided[0]);

  for (const text of [JSON.stringify(first), JSON.stringify(object(first)), `${first.join(' ')}\n`]) {
    const answer = json(await vouch(home, ['infer', MODEL, '-', '--json'], text)) as Record<string, unknown>;
    assert.is(answer.label, decided[0]![0]);
    assert.is(answer.evidence, 'SIMULATED');
    assert.ok(existsSync(String(answer.receipt)));
  }
});

test('infer: what cannot be decided is said before anything is sealed', async () => {
  const cells = rows(1)[0]!.split(' ').slice(0, -1);
  const text = cells.join(' ');
  const before = receipts();
  const file = join(home, 'applications');
  const cases: [string, RegExp][] = [
    ['', /bad-input: .*expected at least one row/],
    ['[]', /bad-input: .*expected at least one row/],
    [cells.slice(1).join(' '), /bad-input: row 1: expected 20 cells .*, got 19/],
    [
      text.replace(` ${cells[4]} `, ' much '),
      /bad-input: .*"credit-amount": expected a decimal number, got "much"/,
    ],
    [text.replace(cells[0]!, 'A19'), /bad-input: .*"checking-account": expected one of A11, .*got "A19"/],
    ['{"age": ', /bad-input: .*expected JSON or lines of cells/],
    ['{"age": 3}', /bad-input: row 1: field "age" is unknown/],
    ['[[1, null]]', /bad-input: row 1: expected an array of strings or numbers/],
  ];
  for (const [input, sentence] of cases) {
    writeFileSync(file, input);
    assert.match(await printedBy((print) => inferCommand(MODEL, file, here(), print)), sentence);
  }
  const none = join(home, 'none');
  const infer_ = (model: string, path: string, policy?: string) =>
    printedBy((print) => inferCommand(model, path, { ...here(), ...(policy ? { policy } : {}) }, print));
  assert.match(await infer_(MODEL, none), /bad-file: .*there is no such file/);
  assert.match(await infer_('nobody', file), /unknown-model: .*nobody has published a model of that name/);
  assert.match(await infer_('no model', file), /bad-token: model: expected 1 to 64 of/);
  assert.match(await infer_(MODEL, file, none), /bad-file: policy .*: there is no such file/);
  refused(
    await vouch(home, ['infer', MODEL, '-'], 'A11 6'),
    2,
    /^vouch: row 1: expected 20 cells .*, got 2$/m,
  );
  refused(await vouch(home, ['infer', 'nobody', '-'], text), 2, /nobody has published/);
  assert.equal(receipts(), before);
});

test('bad messages get error replies, and the runner stays ready', async (t) => {
  const bus = await connect({
    url,
    creds: readFileSync(join(home, 'creds', 'client_client-1.creds'), 'utf8'),
  });
  t.defer(() => bus.close());
  const source = 'client.client-1';
  const policy = readPolicy(join(home, 'policies', 'inference.json'));
  const service = await verifyService(bus, source, MODEL, policy);
  const subject = subjects.infer(MODEL, service.document.enclave, bus.id);
  const codeIn = (data: Uint8Array) => decodeMessage(ErrorReply, null, data).body.code;
  const bytes = (text: string) => new TextEncoder().encode(text);

  assert.is(
    await codeOf(sendSealed(bus, source, service, new Uint8Array(MAX_SEALED_REQUEST_BYTES + 1))),
    'too-large',
  );
  assert.is(await codeOf(sendSealed(bus, source, service, new Uint8Array(100))), 'seal-rejected');
  assert.is(await codeOf(bus.request(subject, new Uint8Array(bus.server.maxPayload + 1))), 'too-large');
  assert.is(codeIn((await bus.request(subject, bytes('x'))).data), 'bad-message', 'no header');
  const garbled = await bus.request(subject, bytes('x'), { headers: { [ENVELOPE_HEADER]: '{"type":' } });
  assert.is(codeIn(garbled.data), 'bad-message');

  const ask = (data: Uint8Array) => bus.request(subjects.evidence(MODEL, bus.id), data);
  assert.is(codeIn((await ask(bytes('{"garbage'))).data), 'bad-message');
  assert.is(codeIn((await ask(new Uint8Array())).data), 'bad-message');
  const nonce = service.nonce;
  const envelope = JSON.parse(
    new TextDecoder().decode(
      encodeMessage(EvidenceRequest, { subject: subjects.evidence(MODEL, bus.id), source, body: { nonce } }),
    ),
  ) as { version: number };
  assert.is(codeIn((await ask(bytes(JSON.stringify({ ...envelope, version: 99 })))).data), 'bad-version');
  assert.is(
    decodeMessage(EvidenceReply, null, (await ask(bytes(JSON.stringify(envelope)))).data).body.document
      .enclave,
    'enclave-1',
  );

  const cells = rows(1)[0]!.split(' ').slice(0, -1);
  assert.is(
    await codeOf(infer(bus, source, service, policy, cells.slice(1))),
    'bad-input',
    '19 cells, sealed',
  );
  assert.is(
    await codeOf(infer(bus, source, service, policy, ['x'.repeat(257)])),
    'bad-message',
    'a long cell, sealed',
  );
  assert.ok((await infer(bus, source, service, policy, cells)).receipt.verdict === 'accept');
  assert.is((await states()).get('runner enclave-1'), 'ready');
});

test('verify: a receipt, a tampered one, and a wrong measurement', async () => {
  const file = join(home, 'receipts', receipts()[0]!);
  assert.match(ok(await vouch(home, ['verify', file])), /^verdict: accept$/m);
  const report = json(await vouch(home, ['verify', file, '--json'])) as {
    verdict: string;
    checks: { status: string }[];
    claims: { enclave: string };
  };
  assert.is(report.verdict, 'accept');
  assert.ok(report.checks.length > 20 && !report.checks.some(({ status }) => status === 'fail'));
  assert.is(report.claims.enclave, 'enclave-1');

  const tampered = Uint8Array.from(readFileSync(file));
  tampered[tampered.length - 3]! ^= 1;
  const copy = join(home, 'tampered.cose');
  writeFileSync(copy, tampered);
  refused(await vouch(home, ['verify', copy]), 1, /^verdict: reject$/m);

  const policy = JSON.parse(readFileSync(join(home, 'policies', 'inference.json'), 'utf8')) as object;
  const other = join(home, 'other-policy.json');
  writeFileSync(other, JSON.stringify({ ...policy, measurements: ['ab'.repeat(48)] }));
  refused(await vouch(home, ['verify', file, '--policy', other]), 1, /^fail +policy\.measurement/m);
});

/** The demonstration's model under terms for a few rows; its keys are quickly made. */
const FEW_MODEL = 'few-rows';
const few = join(home, 'few.data');
const fewProof = join(home, 'few.json');

test('prove: a test set of one’s own; verify: every way in which it can be wrong', async () => {
  const [terms, data] = [join(home, 'terms.json'), join(home, 'sample.data')];
  writeFileSync(terms, JSON.stringify({ minimumRows: 4 }));
  writeFileSync(data, sampleData(1));
  const onnx = join(home, 'models', `${MODEL}.onnx`);

  // The model gets five of one class and three of the other right. One label is wrong then, so that nothing gets all eight.
  const right = await rowsDecidedRight(60);
  const [good, bad] = ['1', '2'].map((label) => right.filter((row) => row.endsWith(` ${label}`)));
  const mixed = [flipped(good![0]!), ...good!.slice(1, 5), ...bad!.slice(0, 3)];
  assert.is(mixed.length, 8);
  writeFileSync(few, `${mixed.join('\n')}\n`);

  // Their root is logged, beside that of another set, before the model is committed to.
  const dictionary = join(home, 'mine.json');
  writeFileSync(dictionary, JSON.stringify(CREDIT));
  const sealed = join(home, 'few.sealed');
  for (const [rowsFile, out] of [
    [testSet, join(home, 'other.sealed')],
    [few, sealed],
  ] as const) {
    const { root } = json(
      await vouch(home, ['data', 'seal', rowsFile, '--dictionary', dictionary, '--out', out, '--json']),
    ) as { root: string };
    ok(await vouch(home, ['vendor', 'log', '--add', root]));
  }
  ok(await vouch(home, ['model', 'add', FEW_MODEL, onnx, '--data', data, '--terms', terms]));
  const late = json(
    await vouch(home, [
      'data',
      'seal',
      few,
      '--dictionary',
      dictionary,
      '--out',
      join(home, 'late'),
      '--json',
    ]),
  ) as { root: string };
  const log = join(home, 'log.json');
  assert.is(lines(ok(await vouch(home, ['vendor', 'log', '--add', late.root, '--out', log]))).length, 4);

  const made = await vouch(home, [
    'prove',
    FEW_MODEL,
    '--test-set',
    few,
    '--threshold',
    '5',
    '--sealed',
    sealed,
    '--out',
    fewProof,
  ]);
  assert.match(
    made.stderr,
    /the rows were fixed before the model, one of 2 test sets that this vendor logged/,
  );
  assert.match(ok(made), /^verified\tat least 5 of 8 rows\t/);
  assert.match(made.stderr, /INSECURE-SINGLE-PARTY: it convinces its maker only/);

  assert.match(
    ok(await vouch(home, ['verify', fewProof, '--test-set', few])),
    /made by me \(INSECURE-SINGLE-PARTY\)/,
  );
  const held = await printedBy((print) =>
    verifyCommand([fewProof], { testSet: few, dictionary, json: false }, print),
  );
  assert.match(held, /^pass +proof\.labels/m);
  assert.match(
    held,
    /^proved: .* at least 5 of the 8 rows .* as your own dictionary names them \(good, bad\); the rows may have been trained on, or picked to fit the model; by a key made by me/m,
  );
  // Offline, the log's order counts only beside a manifest, which names where the log stood.
  const manifest = join(home, 'few.manifest');
  ok(await vouch(home, ['model', 'show', FEW_MODEL, '--save-manifest', manifest, '--rows', '8']));
  const vendor = (json(await vouch(home, ['vendor', 'show', '--json'])) as { fingerprint: string })
    .fingerprint;
  const logged = (more: { manifest?: string; log?: string }) =>
    printedBy((print) => verifyCommand([fewProof], { testSet: few, vendor, json: false, ...more }, print));
  assert.match(
    await logged({ log, manifest }),
    /^pass +proof\.rows-fixed .*one of 2 test sets that this vendor logged/m,
  );
  assert.match(await logged({ log }), /^skipped +proof\.rows-fixed .*expected --manifest FILE/m);
  assert.match(await logged({}), /^skipped +proof\.rows-fixed .*expected --log FILE/m);
  // A vendor's class names are free text: with them swapped a model answers the opposite.
  const swapped = join(home, 'swapped.json');
  writeFileSync(swapped, JSON.stringify({ ...CREDIT, label: SWAPPED }));
  assert.match(
    await printedBy((print) =>
      verifyCommand([fewProof], { testSet: few, dictionary: swapped, json: false }, print),
    ),
    /^fail +proof\.labels +the classes here are 1 \(bad\), 2 \(good\), in this order; the model's are 1 \(good\), 2 \(bad\)[\s\S]*^verdict: reject/m,
  );
  refused(
    await vouch(home, ['prove', MODEL, '--test-set', few, '--dictionary', swapped]),
    2,
    /dictionary: expected that of the model; the classes here are/,
  );
  refused(await vouch(home, ['verify', fewProof]), 1, /^fail +proof\.test-set .*expected --test-set FILE/m);
  refused(await vouch(home, ['verify', fewProof, '--test-set', testSet]), 1, /^fail +proof\.test-set/m);

  const published = JSON.parse(readFileSync(fewProof, 'utf8')) as PublishedProof;
  const tampered = (change: (proof: PublishedProof) => void): string => {
    const copy = structuredClone(published);
    change(copy);
    const file = join(home, 'tampered.json');
    writeFileSync(file, canonicalJson(copy));
    return file;
  };
  const verify = (file: string, policy?: string) =>
    printedBy((print) =>
      verifyCommand([file], { testSet: few, json: false, ...(policy ? { policy } : {}) }, print),
    );
  const check = async (change: (record: PublishedProof['record']) => void, sentence: RegExp) =>
    assert.match(await verify(tampered(({ record }) => change(record))), sentence);
  await check((record) => {
    (record.statement as QualityStatement).threshold = 8;
  }, /^fail +proof\.public-signals/m);
  await check((record) => {
    record.publicSignals[1] = '8';
  }, /^fail +proof\.groth16/m);
  await check((record) => {
    record.proof.pi_a.reverse();
  }, /^fail +proof\.groth16/m);
  await check((record) => {
    record.constraints = 1;
  }, /^fail +proof\.maker-signature/m);
  await check((record) => {
    record.architecture = {};
  }, /^fail +proof\.test-set/m);
  refused(
    await vouch(home, [
      'verify',
      tampered(({ record }) => record.publicSignals.reverse()),
      '--test-set',
      few,
    ]),
    1,
    /verdict: reject/,
  );

  const policy = JSON.parse(readFileSync(join(home, 'policies', 'prover.json'), 'utf8')) as object;
  const wrong = join(home, 'wrong-prover.json');
  writeFileSync(wrong, JSON.stringify({ ...policy, measurements: ['ab'.repeat(48)] }));
  assert.match(await verify(fewProof, wrong), /^fail +proof\.maker-evidence/m);
  const cut = join(home, 'cut.json');
  writeFileSync(cut, readFileSync(fewProof).subarray(0, 2000));
  assert.match(await verify(cut), /bad-file: .*truncated or damaged/);
});

test('prove inference: what the model answers to one row; verify: the row, another row, none', async () => {
  const [row, other] = rows(2).map((line, i) => {
    const file = join(home, `row${i}.csv`);
    writeFileSync(file, `${line.split(/\s+/).slice(0, -1).join(',')}\n`);
    return file;
  }) as [string, string];
  const out = join(home, 'answer.json');
  const dictionary = join(home, 'mine.json');
  writeFileSync(dictionary, JSON.stringify(CREDIT));
  const proved = await vouch(home, ['prove', 'inference', MODEL, '--input', row, '--out', out]);
  const [, answer] = /^verified\tanswers (good|bad)\t/.exec(ok(proved)) ?? [];
  assert.ok(answer, proved.stdout);
  const verify = (...words: string[]) => vouch(home, ['verify', out, ...words]);
  assert.match(
    ok(await verify('--input', row, '--dictionary', dictionary)),
    new RegExp(`^proved: .* answers "${answer}" to the row of input [0-9a-f]{16}…; classes as your own`, 'm'),
  );
  refused(await verify('--input', other), 1, /^fail +proof\.test-set/m);
  refused(
    await verify('--input', row, '--row-salt', '00'.repeat(31)),
    2,
    /--row-salt: the proof hides no row/,
  );
  refused(
    await verify('--input', row, '--output', row),
    2,
    /--output: the proof is not about tensors, and names its answer itself; leave it out/,
  );
  refused(await verify(), 1, /^fail +proof\.test-set .*--input FILE for a proof of one answer/m);
  refused(await verify('--test-set', testSet), 1, /^fail +proof\.test-set/m);
  const prove = (...words: string[]) => vouch(home, ['prove', 'inference', MODEL, ...words]);
  refused(await prove('--input', testSet), 2, /expected one row, got \d+; a proof is about one answer/);
  refused(await prove('--input', row, '--output', 'maybe'), 2, /--output: expected good or bad, got "maybe"/);
  const wrong = answer === 'good' ? 'bad' : 'good';
  const refusal = await prove('--input', row, '--output', wrong);
  refused(refusal, refusal.code!, /no proof was made, and why is the vendor's secret/);
  assert.not.equal(refusal.code, 0);
});

test('verify on another host: the key is unproven there, and can be trusted by name', async () => {
  const { host, kit } = await otherHost(['client'], 'bob');
  const words = ['verify', fewProof, '--test-set', few, '--policy', join(kit, 'policies', 'prover.json')];
  const { code, stdout } = await vouch(host, words);
  assert.is(code, 1, stdout);
  const digest = /--trust-key ([0-9a-f]{64}) accepts it/.exec(stdout)?.[1];
  assert.ok(digest, stdout);
  assert.match(ok(await vouch(host, [...words, '--trust-key', digest!])), /^verdict: accept$/m);
  refused(await vouch(host, [...words, '--trust-key', '00'.repeat(32)]), 1, /unproven/);
});

test('prove: what cannot be proved', async () => {
  const prove = (...words: string[]) => vouch(home, ['prove', ...words]);
  refused(await prove(FEW_MODEL, '--test-set', few, '--threshold', '9'), 2, /threshold: expected at most 8/);
  refused(await prove('nobody', '--test-set', few), 2, /nobody has published/);
  refused(await prove('nobody'), 2, /expected --test-set FILE, this host keeps none for it/);
  refused(
    await prove(FEW_MODEL, '--test-set', few, '--threshold', '8'),
    1,
    /no proof was made.* false statement/,
  );
});

test('a truncated proving key in the cache is made again', async () => {
  const folder = join(home, 'cache', 'zkeys');
  const published = JSON.parse(readFileSync(fewProof, 'utf8')) as PublishedProof;
  const file = join(folder, `${published.record.statement.circuit}.zkey`);
  const { size } = statSync(file);
  truncateSync(file, Math.floor(size / 2));
  ok(await vouch(home, ['prove', FEW_MODEL, '--test-set', few, '--threshold', '5', '--out', fewProof]));
  assert.is(statSync(file).size, size);
  ok(await vouch(home, ['verify', fewProof, '--test-set', few]));
});

test('a client, a monitor and a coordinator on other hosts', async (t) => {
  const { host, kit } = await otherHost(['client', 'monitor', 'coordinator'], 'far-1');
  const there = ['--nats', url, '--creds', kit];
  const out = ok(await vouch(host, ['infer', MODEL, '-', ...there], `${rows(1)[0]}\n`));
  assert.ok(out.split('\t')[2]!.trim().startsWith(join(host, 'receipts')));

  const coordinator = running(t, host, ['coordinator', 'monitor', ...there]);
  const page = (await coordinator.line(/^monitor: http/)).slice('monitor: '.length);
  await coordinator.line(/vouch: ready/);
  assert.is((await states()).get('coordinator far-1'), 'admitting');
  const answer = await fetch(page);
  assert.is(answer.status, 200);
  assert.match(await answer.text(), /<title>Vouch monitor/);
  assert.match(await (await fetch(new URL('/page.js', page))).text(), /SIMULATED/);

  const taken = createServer();
  await new Promise<void>((done) => taken.listen(0, '127.0.0.1', done));
  t.defer(() => taken.close());
  const port = String((taken.address() as { port: number }).port);
  refused(
    await vouch(host, ['start', 'monitor', ...there, '--port', port]),
    2,
    new RegExp(`${port}.*in use`),
  );
  // Wrong credentials: those of another installation.
  const stranger = newHome();
  ok(await vouch(stranger, ['creds', 'client', '--id', 'client-1', '--out', stranger]));
  refused(
    await vouch(stranger, ['status', '--nats', url, '--creds', stranger]),
    2,
    /it refused the credentials of client-1/,
  );
});

const SWAPPED = {
  ...CREDIT.label,
  classes: [
    { name: 'bad', value: '1' },
    { name: 'good', value: '2' },
  ],
};

/** A vendor's data, the network that it trained, and that as integers: what `vouch model add` makes of it. */
function ownModel() {
  const { train: training } = split(readCreditData(sampleData(2)), CREDIT);
  const spec = preprocessingOf(CREDIT);
  const features = training.map(({ cells }) => preprocess(spec, cells));
  const network = train({ features, labels: training.map(({ label }) => label) }, 2, { seed: 5, hidden: 2 });
  const onnx = writeOnnx(onnxFromNetwork(network));
  const integers = quantise(networkFromOnnx(readOnnx(onnx)), {
    dictionary: CREDIT,
    calibration: features,
  });
  return { onnx, spec, integers };
}

test('a model of one’s own: added, served, and refused when it is damaged', async (t) => {
  const data = join(home, 'own.data');
  writeFileSync(data, sampleData(2));
  const { onnx } = ownModel();
  const file = join(home, 'own.onnx');

  const damaged: [Uint8Array, RegExp][] = [
    [onnx.subarray(0, onnx.length - 100), /ONNX: /],
    [new TextEncoder().encode('garbage'), /ONNX: truncated, or not an ONNX file/],
    [new Uint8Array(), /ONNX: the file is empty/],
    [
      writeOnnx(onnxFromNetwork(train({ features: [[1, 2]], labels: [0] }, 2, { hidden: 2 }))),
      /takes 2 features, the preprocessing gives 63/,
    ],
  ];
  for (const [bytes, sentence] of damaged) {
    writeFileSync(file, bytes);
    const add = printedBy((print) =>
      addModelCommand('own', file, { ...here(), data, brokers: '1/1' }, print),
    );
    assert.match(await add, sentence);
  }
  assert.not.ok(existsSync(join(home, 'models', 'own.onnx')));
  writeFileSync(file, 'garbage');
  refused(
    await vouch(home, ['model', 'add', 'own', file, '--data', data]),
    2,
    /^vouch: ONNX: truncated, or not/,
  );
  refused(await vouch(home, ['infer', 'own', '-'], rows(1)[0]), 2, /nobody has published/);

  writeFileSync(file, onnx);
  const terms = join(home, 'terms.json');
  writeFileSync(terms, JSON.stringify({ minimumRows: 4 }));
  const added = json(
    await vouch(home, ['model', 'add', 'own', file, '--data', data, '--terms', terms, '--json']),
  ) as {
    commitment: string;
    correct: number;
    baseline: number;
  };
  assert.ok(added.correct > added.baseline);
  refused(
    await vouch(home, ['infer', 'own', '-'], rows(1)[0]),
    1,
    /nobody serves it now; start one: vouch start enclave/,
  );
  const runner = running(t, home, ['enclave', 'gpu', 'runner', '--id', 'enclave-2', '--model', 'own']);
  await runner.line(/vouch: ready/);
  assert.match(ok(await vouch(home, ['infer', 'own', '-'], rows(1)[0])), /^(good|bad)\tSIMULATED\t/);
});

test.slow('setup --ptau: the ceremony path', async (t) => {
  const tiny = join(home, 'tiny.data');
  const kept = lines(readFileSync(join(home, 'models', 'own.test.data'), 'utf8'));
  // Two of each class that the model decides right: three are more than a constant answer gets.
  const { spec, integers } = ownModel();
  const decided = decideMany(
    integers,
    kept.map((row) => preprocess(spec, row.split(' ').slice(0, -1))),
  );
  const ofClass = (label: string) =>
    kept.filter((row, i) => row.endsWith(` ${label}`) && decided[i] === Number(label) - 1).slice(0, 2);
  writeFileSync(tiny, `${[...ofClass('1'), ...ofClass('2')].join('\n')}\n`);
  const setup = (ptau: string) =>
    vouch(home, ['setup', '--ptau', ptau, '--model', 'own', '--test-set', tiny]);
  const garbage = join(home, 'garbage.ptau');
  writeFileSync(garbage, 'garbage');
  refused(await setup(garbage), 2, /\.ptau file: 7 bytes are too few/);
  if (!existsSync(PTAU)) t.skip('no ../shared/prover/test12.ptau');
  const small = join(home, 'small.ptau');
  writeFileSync(small, powersOfTau(4));
  refused(await setup(small), 2, /small\.ptau: it is for circuits of up to 2\^4 rows, this one needs 2\^\d+/);
  writeFileSync(small, powersOfTau(4, { prepared: false }));
  refused(await setup(small), 2, /small\.ptau: it is not prepared for phase 2/);
  const made = await setup(PTAU);
  ok(made);
  assert.match(made.stderr, /was made from .* and checked against it/);
  const proof = join(home, 'ceremony.json');
  const proved = await vouch(home, ['prove', 'own', '--test-set', tiny, '--threshold', '3', '--out', proof]);
  ok(proved);
  assert.match(proved.stderr, /CEREMONY: it convinces whoever trusts/);
  assert.match(
    ok(await vouch(home, ['verify', proof, '--test-set', tiny])),
    /key and circuit: ceremony checked/,
  );
});

test('drained workers stay away; a proof that nobody can make is taken back by cancel, and by Ctrl-C', async () => {
  for (const id of ['worker-1', 'worker-2'])
    assert.match(ok(await vouch(home, ['drain', 'worker', id])), /^worker worker-\d\t(draining|stopped)$/m);
  await eventually('the workers are gone', async () => {
    const now = await states();
    return !now.has('worker worker-1') && !now.has('worker worker-2');
  });
  refused(await vouch(home, ['drain', 'worker', 'worker-1']), 1, /responder|answer|timeout/);
  refused(await vouch(home, ['drain', 'wrker', 'w']), 2, /expected a role among .*worker.*, got wrker/);
  refused(
    await vouch(home, ['cancel', 'nope']),
    2,
    /job nope: expected one that was asked for from this home/,
  );

  const requests = (): string[] => {
    const folder = join(home, 'requests');
    return existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.json')) : [];
  };
  const waiting = start(home, ['prove', MODEL]);
  await waiting.line(/transforming/);
  const [ticket] = requests();
  const cancelled = ok(await vouch(home, ['cancel', ticket!.replace('.json', '')]));
  assert.match(cancelled, /^cancelled\t/);
  refused(await waiting.ended, 1, /it was cancelled by its requester/);
  assert.equal(requests(), []);

  const interrupted = start(home, ['prove', MODEL]);
  await interrupted.line(/transforming/);
  interrupted.interrupt();
  assert.is((await interrupted.ended).code, 130);
  assert.equal(requests(), []);
  await eventually('nobody works on it', async () => {
    const kinds = [...(await states()).keys()];
    return !kinds.some((name) => name.startsWith('proof-job'));
  });
});

test('a worker on another host is attested and does what others left', async (t) => {
  const { host, kit } = await otherHost(['worker'], 'w9');
  // One file names them all, the id included.
  const worker = running(t, host, ['worker', '--nats', url, '--creds', join(kit, 'worker_w9.creds')]);
  await worker.line(/vouch: ready/);
  await eventually('w9 is idle', async () => (await states()).get('worker w9') === 'idle');
  assert.not.ok(existsSync(join(host, 'keys')), 'it has no root of its own');
  // The others are gone: who has a key's points already does so small a proof before a newcomer has fetched them.
  const published = json(
    await vouch(home, ['prove', FEW_MODEL, '--test-set', few, '--threshold', '5', '--json']),
  ) as PublishedProof;
  assert.equal(
    published.record.workers.map(({ id }) => id),
    ['w9'],
  );
});

test('Ctrl-C drains and stops everything', async () => {
  demo.interrupt();
  const { code, stdout, stderr } = await demo.ended;
  assert.is(code, 0, stderr);
  assert.is(stdout, '');
  assert.not.match(stderr, /while stopping|before it had drained/);
  await eventually('no process is left', () => processesOf(home).length === 0);
  assert.equal(unfinished(home), []);
  refused(await vouch(home, ['status']), 2, /no running Vouch is known/);
});

test.run();

/**
 * `vouch verify evidence` and `vouch verify` on evidence of hardware and on what Vouch itself writes.
 *
 * One file, although it is long: its cases share evidence that is slow to read.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import * as fc from 'fast-check';
import { sortFiles } from '../../../protocols/attestation/evidence-files.ts';
import { sha256Hex } from '../../../protocols/encoding.ts';
import { VouchError } from '../../../protocols/errors.ts';
import { addCollateral, readCollateral } from '../../../runtime/attest/collateral.ts';
import { initPolicy } from '../../../runtime/commands/policy.ts';
import { verifyCommand } from '../../../runtime/commands/verify.ts';
import { type EvidenceCommand, verifyEvidenceFiles } from '../../../runtime/commands/verify-evidence.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import { certificateTable, endorsement, GCE_GUID } from '../../protocols/google-maker.ts';
import {
  attest,
  HYPER_PCRS,
  hyperEnclave,
  NONCE,
  PCR_TEXT,
  pcrDigest,
  rsaSignature,
  sm2Spki,
} from '../../protocols/tpm-maker.ts';

const test = suite('vouch verify evidence');
const VECTORS = new URL('../../../../shared/vectors/', import.meta.url).pathname;
const at = (name: string): string => path.join(VECTORS, name);
const QUOTE = at('intel/quotes/tdx_v4_dcapqvl.bin');
const COLLATERAL = at('intel/collateral/dcapqvl_tdx_quote_collateral.json');
const THEN = '2025-07-04T00:00:00Z';

interface Vector {
  readonly path: string;
  readonly kind: string;
  readonly now: string | null;
  readonly rimNow?: string;
  readonly verdict: 'accept' | 'reject';
  readonly collateral?: string;
  readonly cert?: string;
  readonly vbiosRim?: string;
  readonly expectedNonce?: string;
}

interface Printed {
  readonly verdict: string;
  readonly checks: { id: string; status: string; detail: string }[];
  readonly claims: Record<string, unknown> | null;
}

const need = (t: TestContext): void => {
  if (!existsSync(VECTORS)) t.skip('no ../shared/vectors');
};

function folderOf(t: TestContext): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'vouch-evidence-'));
  t.defer(() => rmSync(folder, { recursive: true, force: true }));
  const before = process.env.VOUCH_HOME;
  process.env.VOUCH_HOME = folder;
  t.defer(() => {
    if (before === undefined) delete process.env.VOUCH_HOME;
    else process.env.VOUCH_HOME = before;
  });
  return folder;
}

/** The JSON that the command prints; its verdict is what it returns. */
async function run(files: string[], options: Partial<EvidenceCommand> = {}): Promise<Printed> {
  const printed: unknown[] = [];
  const accepted = await verifyEvidenceFiles(files, { json: true, ...options }, (value) =>
    printed.push(value),
  );
  assert.is(printed.length, 1);
  const result = printed[0] as Printed;
  assert.is(result.verdict, accepted ? 'accept' : 'reject');
  return result;
}

const failed = ({ checks }: Printed): string[] =>
  checks.filter(({ status }) => status === 'fail').map(({ id }) => id);

test('every vector gets its verdict under `genuine`, its files in any order', async (t) => {
  need(t);
  folderOf(t);
  for (const vector of JSON.parse(readFileSync(at('vectors.json'), 'utf8')) as Vector[]) {
    const others = [vector.collateral, vector.cert, vector.vbiosRim].flatMap((name) => name ?? []);
    if (vector.kind === 'nvidia-spdm') others.push(vector.path.replace('.hex', '.chain.pem'));
    const now = vector.rimNow ?? vector.now;
    const options = {
      policy: 'genuine',
      ...(now === null ? {} : { at: now }),
      ...(vector.expectedNonce === undefined ? {} : { nonce: vector.expectedNonce }),
    };
    const files = [vector.path, ...others].map(at);
    for (const order of [files, files.toReversed()]) {
      const { verdict } = await run(order, options);
      assert.is(verdict, vector.verdict, `${vector.path} at ${now}`);
    }
  }
});

test('the table has one row for each check, and the verdict', async (t) => {
  need(t);
  folderOf(t);
  const lines: string[] = [];
  const accepted = await verifyEvidenceFiles([QUOTE, COLLATERAL], { json: false, at: THEN }, (line) =>
    lines.push(String(line)),
  );
  assert.is(accepted, true);
  assert.equal(lines.slice(-2), ['verdict: accept', 'not checked: evidence.nonce']);
  assert.ok(lines.slice(0, -2).every((line) => /^(?:pass {5}|skipped {2})[a-z.-]+ +\S/.test(line)));
  assert.ok(lines.some((line) => /^pass +tdx\.quote-signature /.test(line)));
});

test('claims say what was measured', async (t) => {
  need(t);
  folderOf(t);
  const { claims } = await run([QUOTE, COLLATERAL], { at: THEN });
  assert.is(claims?.platform, 'tdx');
  assert.is(claims?.tcbStatus, 'UpToDate');
  assert.match(String(claims?.mrtd), /^91eb2b44d141/);
});

test('a quote as hex text, CRLs and certificates as PEM, DER and hex are known by their content', async (t) => {
  need(t);
  const folder = folderOf(t);
  const combined = JSON.parse(readFileSync(COLLATERAL, 'utf8')) as Record<string, string>;
  const write = (name: string, data: string | Uint8Array): string => {
    const file = path.join(folder, name);
    writeFileSync(file, data);
    return file;
  };
  const crl = Buffer.from(combined.pck_crl!, 'hex').toString('base64');
  const files = [
    write('1', `${readFileSync(QUOTE).toString('hex').toUpperCase()}\n`),
    write('2', `{"tcbInfo": ${combined.tcb_info}, "signature": "${combined.tcb_info_signature}"}`),
    write(
      '3',
      `{"signature":"${combined.qe_identity_signature}","enclaveIdentity":${combined.qe_identity}}\n`,
    ),
    write('4', Buffer.from(combined.root_ca_crl!, 'hex')),
    write('5', `-----BEGIN X509 CRL-----\n${crl}\n-----END X509 CRL-----\n`),
    write('6', combined.tcb_info_issuer_chain!),
  ];
  const result = await run(files, { at: THEN });
  assert.equal(failed(result), []);
  assert.is((await run(files.slice(0, 4).concat(files.slice(5)), { at: THEN })).verdict, 'reject');
  assert.is(
    (await run([...files.slice(0, 4), write('7', combined.pck_crl!), files[5]!], { at: THEN })).verdict,
    'accept',
  );
  const encoded = write('8', encodeURIComponent(combined.tcb_info_issuer_chain!));
  const base64 = write('9', `${readFileSync(QUOTE).toString('base64').replaceAll(/.{64}/g, '$&\n')}\n`);
  assert.is((await run([base64, ...files.slice(1, 5), encoded], { at: THEN })).verdict, 'accept');
});

test('an SNP report with the certificates that came with it in one file', async (t) => {
  need(t);
  const folder = folderOf(t);
  const report = readFileSync(at('amd/reports/trustee_v2_milan.bin'));
  const vcek = readFileSync(at('amd/certs/trustee_vcek.der'));
  const table = Buffer.alloc(48);
  table.write('63da758de6644564adc5f4b93be8accd', 'hex');
  table.writeUInt32LE(table.length, 16);
  table.writeUInt32LE(vcek.length, 20);
  const file = path.join(folder, 'extended');
  const judge = (...parts: Buffer[]) => {
    writeFileSync(file, Buffer.concat(parts));
    return run([file], { at: '2024-01-01', policy: 'genuine' });
  };
  assert.is((await judge(report, table, vcek)).verdict, 'accept');
  assert.is((await judge(report, table, vcek.subarray(1))).verdict, 'reject');
  assert.is((await judge(report, Buffer.alloc(48))).verdict, 'reject');
  // A host that hands out none, and Compute Engine's, which hands out its firmware's endorsement (google/gce-tcb-verifier).
  const google = Buffer.from(
    certificateTable([[GCE_GUID, await endorsement({ snp: { 2: 'ab'.repeat(48) } })]]),
  );
  const options = { at: '2024-01-01', policy: 'genuine' };
  for (const rest of [[Buffer.alloc(24)], [Buffer.alloc(2912)], [google]]) {
    await judge(report, ...rest);
    const beside = await run([file, at('amd/certs/trustee_vcek.der')], options);
    assert.is(beside.verdict, 'accept', JSON.stringify(beside.checks.slice(0, 2)));
  }
});

test('a folder of collateral fills in what the files lack', async (t) => {
  need(t);
  const folder = folderOf(t);
  assert.is((await run([QUOTE], { at: THEN })).verdict, 'reject');
  assert.is((await run([QUOTE], { at: THEN, collateral: at('intel/collateral') })).verdict, 'accept');
  const added = await addCollateral([COLLATERAL]);
  assert.equal(added, [path.join(folder, 'collateral', path.basename(added[0]!))]);
  assert.match(path.basename(added[0]!), /^[0-9a-f]{64}$/);
  assert.equal(await addCollateral([COLLATERAL]), added);
  assert.is(readdirSync(path.join(folder, 'collateral')).length, 1);
  assert.is((await run([QUOTE], { at: THEN })).verdict, 'accept');
  for (const file of [QUOTE, at('roots/hygon_hrk.cert'), at('intel/eventlogs/ccel_data.dat')]) {
    try {
      await addCollateral([file]);
      assert.unreachable();
    } catch (error) {
      assert.is((error as VouchError).code, 'bad-input');
    }
  }
});

test('what a folder holds beside collateral is passed over; a folder that is not there is an error', async (t) => {
  need(t);
  const folder = folderOf(t);
  writeFileSync(path.join(folder, 'notes.txt'), 'nothing');
  assert.is(readCollateral(folder).unknown.length, 1);
  assert.is((await run([QUOTE, COLLATERAL], { at: THEN, collateral: folder })).verdict, 'accept');
  try {
    await run([QUOTE], { collateral: path.join(folder, 'missing') });
    assert.unreachable();
  } catch (error) {
    assert.is((error as VouchError).code, 'bad-file');
  }
});

test('an event log is compared with its quote, and is out of place without one', async (t) => {
  need(t);
  folderOf(t);
  const log = at('intel/eventlogs/ccel_data.dat');
  const quote = at('intel/quotes/tdx_v4_gcp_cos113.bin');
  const both = await run([log, quote, at('intel/eventlogs/ccel_table.dat')], { policy: 'genuine' });
  const passed = both.checks.filter(({ status }) => status === 'pass').map(({ id }) => id);
  assert.ok(
    ['tdx.rtmr-replay', 'tdx.event-digests', 'evidence.event-log'].every((id) => passed.includes(id)),
  );
  assert.ok(failed(await run([QUOTE, COLLATERAL, log], { at: THEN })).includes('tdx.rtmr-replay'));
  const sgx = [
    at('intel/quotes/sgx_v3_dcapqvl.bin'),
    at('intel/collateral/dcapqvl_sgx_quote_collateral.json'),
  ];
  assert.equal(failed(await run([...sgx, log], { at: THEN, policy: 'genuine' })), ['evidence.event-log']);
});

test('malformed evidence is rejected; it does not pass for something else', async (t) => {
  need(t);
  const folder = folderOf(t);
  const file = path.join(folder, 'file');
  const quote = readFileSync(QUOTE);
  const damaged = [
    new Uint8Array(0),
    Buffer.from('garbage'),
    Buffer.from('{"a":1}'),
    Buffer.from('{'),
    Buffer.from('<xml/>'),
    Buffer.from('-----BEGIN CERTIFICATE-----'),
    quote.subarray(0, 2000),
    Buffer.concat([Buffer.from([9]), quote.subarray(1)]),
    Buffer.concat([quote.subarray(0, 20), Buffer.from([0]), quote.subarray(21)]),
  ];
  for (const bytes of damaged) {
    writeFileSync(file, bytes);
    assert.is((await run([file, COLLATERAL], { at: THEN })).verdict, 'reject');
    // Nor beside good evidence.
    assert.is((await run([file, QUOTE, COLLATERAL], { at: THEN })).verdict, 'reject');
  }
  assert.equal(failed(await run([COLLATERAL], { at: THEN })), ['evidence.present']);
});

test('every piece has to be accepted', async (t) => {
  need(t);
  folderOf(t);
  const debug = at('intel/quotes/tdx_v4_trustee_debug.bin');
  const result = await run([QUOTE, COLLATERAL, debug], { at: THEN, policy: 'genuine' });
  assert.is(result.verdict, 'reject');
  assert.ok(Array.isArray(result.claims));
  const snp = [at('amd/reports/trustee_v2_milan.bin'), at('amd/certs/trustee_vcek.der')];
  assert.is((await run([QUOTE, COLLATERAL, ...snp], { at: THEN, policy: 'genuine' })).verdict, 'accept');
});

test('policy files: what they refuse is a failed check, what they get wrong an error', async (t) => {
  need(t);
  const folder = folderOf(t);
  const file = path.join(folder, 'policy.json');
  const judged = async (policy: unknown) => {
    writeFileSync(file, typeof policy === 'string' ? policy : JSON.stringify(policy));
    return run([QUOTE, COLLATERAL], { at: THEN, policy: file });
  };
  assert.is((await judged({ version: 1 })).verdict, 'accept');
  assert.equal(failed(await judged({ version: 1, platforms: ['sev-snp'] })), ['tdx.platform-allowed']);
  // A machine that is to have GPUs is not accepted without them.
  assert.equal(failed(await judged({ version: 1, gpu: { count: 8 } })), ['gpu.count']);
  assert.is((await judged({ version: 1, platforms: ['tdx'], gpu: { count: 8 } })).verdict, 'accept');
  assert.equal(failed(await judged({ version: 1, measurements: ['00'.repeat(48)] })), ['tdx.measurement']);
  for (const policy of [{ version: 1, unknown: 1 }, {}, 'not json', '[]']) {
    try {
      await judged(policy);
      assert.unreachable();
    } catch (error) {
      assert.ok(['bad-input', 'bad-file'].includes((error as VouchError).code));
      assert.match((error as Error).message, 'policy');
    }
  }
});

test('a TPM quote from files: quote, signature, key and PCR values in any order, for a policy of its own', async (t) => {
  const folder = folderOf(t);
  const file = (name: string, content: Uint8Array | string) => {
    writeFileSync(path.join(folder, name), content);
    return path.join(folder, name);
  };
  const { spki, sign } = await rsaSignature('RSASSA');
  const quote = attest({ digest: pcrDigest('sha256') });
  const pem = `-----BEGIN PUBLIC KEY-----\n${Buffer.from(spki).toString('base64')}\n-----END PUBLIC KEY-----\n`;
  const files = [
    file('a', PCR_TEXT),
    file('b', await sign(quote)),
    file('c', pem),
    file('d', Buffer.from(quote).toString('hex')),
  ];
  const policy = file('policy.json', JSON.stringify({ version: 1, tpm: { keys: [sha256Hex(spki)] } }));
  const nonce = Buffer.from(NONCE).toString('hex');
  assert.is((await run(files, { policy, nonce })).verdict, 'accept');
  assert.equal(failed(await run(files, { policy, nonce: '00'.repeat(32) })), ['tpm.nonce']);
  assert.equal(failed(await run(files, { nonce })), ['tpm.key']);
  assert.equal(failed(await run(files.slice(1), { policy, nonce })), ['tpm.pcr-digest']);
  assert.equal(failed(await run([files[0]!, files[2]!, files[3]!], { policy, nonce })), ['evidence.tpm']);
  const written: unknown[] = [];
  await initPolicy(
    files,
    { nonce },
    (value) => written.push(value),
    () => {},
  );
  const own = file('own.json', String(written[0]));
  assert.is((await run(files, { policy: own, nonce })).verdict, 'accept');
});

test('PCR values beside a quote that they do not belong to are a failure', async (t) => {
  need(t);
  const pcrs = path.join(folderOf(t), 'pcrs');
  writeFileSync(pcrs, PCR_TEXT);
  assert.equal(failed(await run([pcrs, QUOTE, COLLATERAL], { at: THEN })), ['evidence.pcrs']);
});

test('HyperEnclave is refused unless a policy names it, and says what its verdict is worth', async (t) => {
  const folder = folderOf(t);
  const { quote, tpm, pcrs } = await hyperEnclave();
  const spki = Buffer.from(sm2Spki(tpm)).toString('base64');
  const values = HYPER_PCRS.map((index, i) => `  ${index}: 0x${Buffer.from(pcrs[i]!).toString('hex')}\n`);
  const contents = [
    quote,
    `-----BEGIN PUBLIC KEY-----\n${spki}\n-----END PUBLIC KEY-----\n`,
    `sm3_256:\n${values.join('')}`,
  ];
  const files = contents.map((content, i) => {
    writeFileSync(path.join(folder, String(i)), content);
    return path.join(folder, String(i));
  });
  assert.equal(failed(await run(files, { policy: 'genuine' })), [
    'hyperenclave.key',
    'hyperenclave.platform-allowed',
  ]);
  const written: unknown[] = [];
  await initPolicy(
    files,
    {},
    (value) => written.push(value),
    () => {},
  );
  writeFileSync(path.join(folder, 'policy.json'), String(written[0]));
  const result = await run(files, { policy: path.join(folder, 'policy.json') });
  assert.is(result.verdict, 'accept');
  assert.match(String(result.claims?.label), 'only a simulator is public');
});

test('wrong use is an error that names the option or the file', async (t) => {
  need(t);
  folderOf(t);
  const cases: [string[], Partial<EvidenceCommand>, string][] = [
    [['/no/such/file'], {}, '/no/such/file'],
    [[QUOTE], { at: 'yesterday' }, '--at'],
    [[QUOTE], { at: '2025-02-31T00:00:00' }, '--at'],
    [[QUOTE], { nonce: 'xyz' }, '--nonce'],
    [[QUOTE], { policy: '/no/such/policy' }, '/no/such/policy'],
    [[QUOTE], { bound: ['data=00'] }, '--binding'],
    ...[['key=00'], ['data'], ['data=!'], ['data=00', 'data=00']].map(
      (bound): [string[], Partial<EvidenceCommand>, string] => [
        [QUOTE],
        { binding: 'dstack', bound },
        '--bound',
      ],
    ),
  ];
  for (const [files, options, named] of cases) {
    try {
      await run(files, options);
      assert.unreachable(named);
    } catch (error) {
      assert.instance(error, VouchError);
      assert.match((error as Error).message, named);
    }
  }
  const nonce = await run([QUOTE, COLLATERAL], { at: THEN, nonce: '00' });
  assert.equal(failed(nonce), ['evidence.nonce']);
});

test('a rule named by --binding is held to what --bound and --nonce say', async (t) => {
  need(t);
  const reportData = readFileSync(QUOTE).subarray(568, 632);
  const ask = async (options: Partial<EvidenceCommand>) => {
    const { verdict, checks } = await run([QUOTE, COLLATERAL], { policy: 'genuine', at: THEN, ...options });
    return [verdict, checks.find(({ id }) => id.startsWith('binding.'))?.status];
  };
  const data = `data=0x${reportData.toString('hex')}`;
  assert.equal(await ask({ binding: 'dstack', bound: [data] }), ['accept', 'pass']);
  assert.equal(await ask({ binding: 'dstack', bound: [`data=${reportData.toString('base64')}`] }), [
    'accept',
    'pass',
  ]);
  assert.equal(await ask({ binding: 'dstack', bound: ['data=00'] }), ['reject', 'fail']);
  assert.equal(await ask({ binding: 'dstack' }), ['reject', 'fail']);
  assert.equal(await ask({ binding: 'nonce', nonce: reportData.toString('hex') }), ['accept', 'pass']);
  assert.equal(await ask({ binding: 'nonce', nonce: '00' }), ['reject', 'fail']);
});

test('sorting never throws, whatever a file holds', () => {
  const bytes = [
    [],
    [0x30],
    [0x30, 0x82, 0xff, 0xff],
    [0x11, 0xe0],
    [0x7b],
    [0x31, 0x31],
    [0xef, 0xbb, 0xbf, 0x7b],
  ];
  const sorted = sortFiles(bytes.map((one, i) => ({ name: String(i), bytes: Uint8Array.from(one) })));
  assert.is(sorted.unknown.length + sorted.evidence.length, bytes.length);
});

// Issue 11, 3: no file says in which mode a GPU's guest runs it; documents do, and whoever trusts the guest may.
test('what a guest states of its GPUs, `strict` takes from its owner where no document says it', async (t) => {
  need(t);
  folderOf(t);
  const files = [
    at('nvidia/reports/sdk_hopper_535.86.09.hex'),
    at('nvidia/reports/sdk_hopper_535.86.09.chain.pem'),
  ];
  const rows = async (options: Partial<EvidenceCommand>) => {
    const { checks } = await run(files, { at: '2024-01-01', ...options });
    return checks.filter(({ id }) => /^gpu\.(cc-mode|ready)$/.test(id)).map(({ status }) => status);
  };
  assert.equal(await rows({}), ['fail', 'skipped']);
  assert.equal(await rows({ gpusReady: true }), ['pass', 'pass']);
  // `policy init` says what keeps the evidence from meeting the policy that it writes.
  const warned = async (options: Parameters<typeof initPolicy>[1]) => {
    const warnings: string[] = [];
    const nonce = '4cff7f5380ead8fad8ec2c531c110aca4302a88f603792801a8ca29ee151af2e';
    const all = { at: '2024-01-01', nonce, ...options };
    await initPolicy(
      files,
      all,
      () => {},
      (line) => warnings.push(line),
    );
    return warnings.filter((line) => /gpu\.(?:cc-mode|ready)/.test(line)).length;
  };
  assert.equal([await warned({}), await warned({ gpusReady: true })], [1, 0]);
});

test('whatever is damaged in whichever file, there is a verdict', async (t) => {
  need(t);
  const folder = folderOf(t);
  const groups = [
    [QUOTE, COLLATERAL],
    [at('amd/reports/trustee_v2_milan.bin'), at('amd/certs/trustee_vcek.der')],
    [at('nvidia/reports/sdk_hopper_535.86.09.hex'), at('nvidia/reports/sdk_hopper_535.86.09.chain.pem')],
    [at('nvidia/rims/NV_GPU_DRIVER_GH100_550.144.03.xml')],
    [at('intel/eventlogs/ccel_data.dat'), at('intel/quotes/tdx_v4_gcp_cos113.bin')],
  ].map((files) => files.map((file) => readFileSync(file)));
  const choice = fc.tuple(
    fc.nat(groups.length - 1),
    fc.nat(1),
    fc.double({ min: 0, max: 1, noNaN: true }),
    fc.nat(255),
  );
  await fc.assert(
    fc.asyncProperty(choice, fc.boolean(), async ([group, file, where, byte], cut) => {
      const names = groups[group]!.map((bytes, i) => {
        const copy = new Uint8Array(bytes);
        const place = Math.min(copy.length - 1, Math.floor(where * copy.length));
        if (i === file) copy[place] = byte;
        const name = path.join(folder, String(i));
        writeFileSync(name, i === file && cut ? copy.subarray(0, place) : copy);
        return name;
      });
      await run(names, { at: THEN, policy: 'genuine' });
    }),
    { numRuns: 60 },
  );
});

test('vouch verify takes evidence of every kind on a home where nothing was ever set up', async (t) => {
  need(t);
  const folder = folderOf(t);
  const home = path.join(folder, 'never-made');
  process.env.VOUCH_HOME = home;
  const run = async (files: string[], options: { policy?: string; at?: string } = {}) => {
    const rows: string[] = [];
    const accepted = await verifyCommand(files, { json: false, ...options }, (row) => rows.push(String(row)));
    return { accepted, rows };
  };
  const raw = await run([QUOTE, COLLATERAL], { at: THEN });
  assert.ok(raw.accepted, raw.rows.join('\n'));
  // A receipt of a SIMULATED enclave is read to the end, and refused by the strictest policy.
  const { bundle } = JSON.parse(
    readFileSync(new URL('../../vectors/composite-receipt.json', import.meta.url), 'utf8'),
  ) as { bundle: string };
  const file = path.join(folder, 'receipt.cose');
  writeFileSync(file, Buffer.from(bundle, 'base64'));
  const simulated = await run([file]);
  assert.not.ok(simulated.accepted);
  assert.ok(
    simulated.rows.some((row) => /^pass +receipt\.signature/.test(row)),
    simulated.rows.join('\n'),
  );
  assert.not.ok(existsSync(home), 'and nothing is made there');
  for (const [files, sentence] of [
    [[file, QUOTE], /expected .*receipt\.cose alone, because it is a receipt/],
    [[path.join(folder, 'none')], /there is no such file/],
  ] as const)
    await verifyCommand([...files], { json: false }, () => {}).then(
      () => assert.unreachable(),
      (error: Error) => assert.match(error.message, sentence),
    );
});

test.run();

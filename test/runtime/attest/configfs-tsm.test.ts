/** Evidence through Linux's configfs-tsm, on a folder that behaves like the kernel's, and each of its failures. */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { SNP_REPORT_BYTES } from '../../../protocols/attestation/formats/sev-snp-report.ts';
import { VouchError } from '../../../protocols/errors.ts';
import { configfsTsm, readTsmReport, type TsmFiles } from '../../../runtime/attest/configfs-tsm.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import { intelCase } from '../../protocols/intel-platform.ts';

const test = suite('configfs-tsm');
const REPORT_DATA = new Uint8Array(64).fill(7);

interface Kernel {
  readonly provider?: string;
  readonly evidence?: Uint8Array;
  readonly auxiliary?: Uint8Array;
  /** writes by others between ours and the next look at `generation` */
  readonly interference?: readonly number[];
}

/** A folder on disk whose files come and go as the kernel's do: with `mkdir`, and changed by a write of `inblob`. */
async function kernel(t: TestContext, { provider = 'sev_guest', interference = [], ...blobs }: Kernel = {}) {
  const root = await mkdtemp(path.join(tmpdir(), 'vouch-tsm-'));
  t.defer(() => rm(root, { recursive: true }));
  let generation = 0;
  const others = [...interference];
  const files: TsmFiles = {
    async mkdir(name) {
      await mkdir(name);
      await writeFile(path.join(name, 'provider'), `${provider}\n`);
      await writeFile(path.join(name, 'generation'), `${generation}\n`);
      if (blobs.auxiliary) await writeFile(path.join(name, 'auxblob'), blobs.auxiliary);
    },
    async write(name, bytes) {
      const folder = path.dirname(name);
      generation += 1 + (others.shift() ?? 0);
      await writeFile(path.join(folder, 'generation'), `${generation}\n`);
      // The real one signs; this one says what it was given.
      await writeFile(path.join(folder, 'outblob'), blobs.evidence ?? bytes);
    },
    read: (name) => readFile(name),
    rmdir: (name) => rm(name, { recursive: true }),
  };
  return { root, files };
}

const errorOf = (work: Promise<unknown>): Promise<VouchError> =>
  work.then(
    () => assert.unreachable('expected an error') as never,
    (error: unknown) => {
      if (error instanceof VouchError) return error;
      throw error;
    },
  );
const failing = (code: string) => async (): Promise<never> => {
  throw Object.assign(new Error(code), { code });
};

test('a report comes out for the bytes that went in, and the folder is gone', async (t) => {
  const { root, files } = await kernel(t);
  const { format, evidence, certificates } = await readTsmReport(REPORT_DATA, root, files);
  assert.is(format, 'sev-snp');
  assert.equal(evidence, REPORT_DATA);
  assert.equal(certificates, []);
  assert.equal(await readdir(root), []);
  const tdx = await kernel(t, { provider: 'tdx_guest' });
  assert.is((await readTsmReport(REPORT_DATA, tdx.root, tdx.files)).format, 'tdx');
});

test("certificates of the host's table come along", async (t) => {
  const der = (await intelCase()).signers.pck.der;
  const table = new Uint8Array(48 + der.length);
  table.set([0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac, 0xcd]);
  new DataView(table.buffer).setUint32(16, 48, true);
  new DataView(table.buffer).setUint32(20, der.length, true);
  table.set(der, 48);
  const { root, files } = await kernel(t, { auxiliary: table });
  assert.equal((await readTsmReport(REPORT_DATA, root, files)).certificates, [der]);
  const empty = await kernel(t, { auxiliary: new Uint8Array() });
  assert.equal((await readTsmReport(REPORT_DATA, empty.root, empty.files)).certificates, []);
});

test('every step can fail, says so, and leaves nothing behind', async (t) => {
  const steps: [keyof TsmFiles, string, RegExp][] = [
    ['mkdir', '', /making the folder failed \(EACCES\): this user may not/],
    ['read', 'generation', /reading generation failed/],
    ['write', 'inblob', /writing inblob failed/],
    ['read', 'outblob', /reading outblob failed/],
    ['read', 'provider', /reading provider failed/],
    ['read', 'auxblob', /reading auxblob failed/],
  ];
  for (const [call, name, message] of steps) {
    const { root, files } = await kernel(t, { auxiliary: new Uint8Array() });
    const fail = failing('EACCES');
    const broken = {
      ...files,
      [call]: (file: string, bytes: Uint8Array) =>
        name === '' || path.basename(file) === name ? fail() : files[call](file, bytes),
    };
    const error = await errorOf(readTsmReport(REPORT_DATA, root, broken));
    assert.is(error.code, 'not-ready', name);
    assert.match(error.message, message);
    assert.equal(await readdir(root), [], name);
  }
  const { root, files } = await kernel(t);
  // That the folder could not be removed is no reason to lose the report.
  const kept = await readTsmReport(REPORT_DATA, root, { ...files, rmdir: failing('EBUSY') });
  assert.is(kept.format, 'sev-snp');
});

test('each error of the kernel has its own advice', async (t) => {
  const advice: [string, RegExp][] = [
    ['ENOENT', /Linux 6\.7/],
    ['ENXIO', /load sev-guest or tdx_guest/],
    ['EAGAIN', /busy; try again/],
    ['ETIMEDOUT', /quoting service/],
    ['EWHATEVER', /kernel log/],
  ];
  const { root, files } = await kernel(t);
  for (const [code, message] of advice) {
    const broken = { ...files, mkdir: failing(code) };
    assert.match((await errorOf(readTsmReport(REPORT_DATA, root, broken))).message, message);
  }
  // The real calls, where there is no such interface.
  const absent = path.join(root, 'absent');
  assert.match((await errorOf(readTsmReport(REPORT_DATA, absent))).message, /\(ENOENT\)/);
});

test("somebody else's write is noticed: tried again, and given up after three times", async (t) => {
  const once = await kernel(t, { interference: [1] });
  assert.equal((await readTsmReport(REPORT_DATA, once.root, once.files)).evidence, REPORT_DATA);
  const always = await kernel(t, { interference: [1, 2, 1, 1] });
  const error = await errorOf(readTsmReport(REPORT_DATA, always.root, always.files));
  assert.is(error.code, 'busy');
  assert.equal(await readdir(always.root), []);
});

test('an unknown provider, a generation that is no number, evidence of no size', async (t) => {
  const arm = await kernel(t, { provider: 'arm-cca-guest' });
  assert.match((await errorOf(readTsmReport(REPORT_DATA, arm.root, arm.files))).message, /arm-cca-guest/);
  for (const evidence of [new Uint8Array(), new Uint8Array(64 * 1024 + 1)]) {
    const odd = await kernel(t, { evidence });
    assert.match((await errorOf(readTsmReport(REPORT_DATA, odd.root, odd.files))).message, /outblob has/);
  }
  const { root, files } = await kernel(t);
  const broken: TsmFiles = {
    ...files,
    read: async (name) => (name.endsWith('generation') ? new Uint8Array(1) : files.read(name)),
  };
  assert.match((await errorOf(readTsmReport(REPORT_DATA, root, broken))).message, /generation is no number/);
  await readTsmReport(new Uint8Array(63), root, files).then(
    () => assert.unreachable(),
    (error) => assert.instance(error, RangeError),
  );
});

test('the measurement is that of the VM, whatever role asks', async (t) => {
  const report = new Uint8Array(SNP_REPORT_BYTES);
  const view = new DataView(report.buffer);
  view.setUint32(0, 2, true);
  view.setBigUint64(8, 1n << 17n, true);
  view.setUint32(0x34, 1, true);
  report.fill(0xcd, 0x90, 0xc0);
  const snp = await kernel(t, { evidence: report });
  assert.is(await configfsTsm(snp.root, snp.files).measurement('runner'), 'cd'.repeat(48));
  const { quote } = await intelCase();
  const td = await kernel(t, { provider: 'tdx_guest', evidence: quote });
  assert.is(await configfsTsm(td.root, td.files).measurement('worker'), 'bb'.repeat(48));
});

test.run();

/**
 * A GPU on its way to a VM and back, on a tree of real files that behaves as the kernel does where it matters: a write
 * to `unbind` or `drivers_probe` moves the driver's link. Every single access to it fails once, and in every case the
 * device has to end in a state that is defined and said.
 */
import { chmod, mkdir, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { createActor } from 'xstate';
import type { gpuDeviceMachine } from '../../../actors/gpu-device.ts';
import { messageOf, VouchError } from '../../../protocols/errors.ts';
import {
  ccModeIn,
  type HostFiles,
  type PassthroughOptions,
  passthrough,
  pciAddress,
  type Taken,
} from '../../../runtime/passthrough/device.ts';
import { hostFiles, queryCcMode } from '../../../runtime/passthrough/host-files.ts';
import { passthroughRole } from '../../../runtime/roles/passthrough.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import { codeOf, temporaryFolder } from '../nats/nats-fixture.ts';

const test = suite('GPU passthrough', { timeoutMs: 110_000 });

const GPU = '0000:65:00.0';
const AUDIO = '0000:65:00.1';
const BRIDGE = '0000:64:00.0';
const DISK = '0000:66:00.0';
const VENDOR = '0x10de';

interface Function {
  readonly class: string;
  readonly driver?: string;
  readonly resets?: string;
  readonly override?: string;
}
const CARD: Record<string, Function> = {
  [BRIDGE]: { class: '0x060400', driver: 'pcieport' },
  [GPU]: { class: '0x030200', driver: 'nvidia', resets: 'flr bus' },
  [AUDIO]: { class: '0x040300', driver: 'snd_hda_intel', resets: 'bus' },
};

/** The host's files, with a kernel behind them, and a list of what was done. */
async function machine(t: TestContext, card: Record<string, Function> = CARD, group = '12') {
  const root = await temporaryFolder(t);
  const at = (...parts: string[]) => join(root, ...parts);
  const sys = (address: string, ...rest: string[]) => at('sys/bus/pci/devices', address, ...rest);
  const put = async (file: string, text: string) => {
    await mkdir(join(file, '..'), { recursive: true });
    await writeFile(file, text);
  };
  const attach = async (address: string, driver: string | undefined) => {
    await rm(sys(address, 'driver'), { force: true });
    if (driver) await symlink(`../../drivers/${driver}`, sys(address, 'driver'));
  };
  for (const driver of ['vfio-pci', 'nvidia', 'snd_hda_intel', 'pcieport', 'nvme', 'nouveau'])
    await put(at('sys/bus/pci/drivers', driver, 'unbind'), '');
  await put(at('sys/bus/pci/drivers_probe'), '');
  await put(at('dev/vfio', group), '');
  await chmod(at('dev/vfio', group), 0o600);
  for (const [address, each] of Object.entries(card)) {
    await put(sys(address, 'class'), `${each.class}\n`);
    await put(sys(address, 'vendor'), `${VENDOR}\n`);
    await put(sys(address, 'device'), '0x2331\n');
    await put(sys(address, 'config'), '\xde\x10\x31\x23');
    await put(sys(address, 'reset'), '');
    await put(sys(address, 'driver_override'), `${each.override ?? '(null)'}\n`);
    if (each.resets !== undefined) await put(sys(address, 'reset_method'), `${each.resets}\n`);
    await symlink(`../../../../kernel/iommu_groups/${group}`, sys(address, 'iommu_group'));
    await put(at('sys/kernel/iommu_groups', group, 'devices', address), '');
    await attach(address, each.driver);
  }
  const plain = hostFiles(root);
  const driverOf = async (address: string) =>
    basename(await readlink(sys(address, 'driver')).catch(() => '')) || undefined;
  const did: string[] = [];
  /** The access with this number fails, or all from there on that are alike. */
  const fault: { at?: number; every?: boolean; what?: string } = {};
  let accesses = 0;
  const access = async <T>(what: string, work: () => Promise<T>): Promise<T> => {
    accesses += 1;
    if (accesses === fault.at) fault.what = what;
    if (accesses === fault.at || (fault.every && what === fault.what)) throw new Error(`EIO: ${what}`);
    return work();
  };
  const kernel = async (path: string, text: string): Promise<void> => {
    did.push(`${path.replace('/sys/bus/pci/', '')} ${text.trim()}`);
    if (path.endsWith('/reset_method') && text.trim() === 'default')
      await plain.write(path, `${card[path.split('/').at(-2)!]?.resets}\n`);
    if (path.endsWith('/driver/unbind')) await attach(text.trim(), undefined);
    if (path.endsWith('/drivers_probe')) {
      const address = text.trim();
      const override = ((await plain.read(`/sys/bus/pci/devices/${address}/driver_override`)) ?? '').trim();
      if (await driverOf(address)) return;
      await attach(address, override && override !== '(null)' ? override : card[address]?.driver);
    }
  };
  const files: HostFiles = {
    read: (path) => access(`read ${path}`, () => plain.read(path)),
    list: (path) => access(`list ${path}`, () => plain.list(path)),
    link: (path) => access(`link ${path}`, () => plain.link(path)),
    owner: (path) => access(`owner ${path}`, () => plain.owner(path)),
    give: (path, owner) => access(`give ${path}`, () => plain.give(path, owner)),
    probe: (path) => access(`probe ${path}`, () => plain.probe(path)),
    write: (path, text) =>
      access(`write ${path}`, async () => {
        await plain.write(path, text);
        await kernel(path, text);
      }),
  };
  const log: string[] = [];
  let kept: readonly Taken[] = [];
  const journal = {
    load: () => access('load', async () => kept),
    save: (taken: readonly Taken[]) =>
      access('save', async () => {
        kept = taken;
      }),
  };
  const open = (options: Partial<PassthroughOptions> = {}) =>
    passthrough({
      addresses: [GPU],
      files,
      ccMode: () => access('ccMode', async () => 'on'),
      journal,
      owner: { uid: process.getuid!(), gid: process.getgid!() },
      log: (line) => void log.push(line),
      ...options,
    });
  /** The drivers of all functions but the bridge's, in order. */
  const drivers = async () => {
    const all = Object.keys(card).filter((address) => address !== BRIDGE);
    return Promise.all(all.map(driverOf));
  };
  return {
    root,
    sys,
    at,
    files,
    did,
    log,
    fault,
    open,
    drivers,
    driverOf,
    attach,
    put,
    plain,
    accesses: () => accesses,
    /** From now on, the access with this number fails, or all like it. */
    breakAt(at: number, every = false) {
      accesses = 0;
      Object.assign(fault, { at, every, what: undefined });
    },
    kept: () => kept,
  };
}

const HOME = ['nvidia', 'snd_hda_intel'];
const AWAY = ['vfio-pci', 'vfio-pci'];

async function through(device: ReturnType<typeof passthrough>) {
  await device.bind();
  await device.reset();
  return device.measure();
}

test('goes to the VM function by function, and comes back the same way', async (t) => {
  const host = await machine(t);
  const device = host.open();
  await device.bind();
  assert.equal(await host.drivers(), AWAY);
  assert.is(await host.driverOf(BRIDGE), 'pcieport');
  assert.equal(
    host.did.map((line) => line.replace('devices/', '')),
    [GPU, AUDIO].flatMap((each) => [
      `${each}/driver_override vfio-pci`,
      `${each}/driver/unbind ${each}`,
      `drivers_probe ${each}`,
    ]),
  );
  assert.equal(
    host.kept().map(({ driver }) => driver),
    HOME,
  );
  await device.reset();
  assert.equal(host.did.slice(6), [`devices/${GPU}/reset_method flr`, `devices/${GPU}/reset 1`]);
  assert.match(host.log.join('\n'), `${AUDIO}: has no reset of its own`);
  assert.equal(await device.measure(), {
    addresses: [GPU, AUDIO],
    hardware: '0x10de:0x2331',
    group: '12',
    reset: 'flr',
    ccMode: 'on',
  });
  assert.is((await host.plain.owner('/dev/vfio/12'))?.mode, 0o600);
  await device.check();

  host.did.length = 0;
  await device.release();
  assert.equal(await host.drivers(), HOME);
  assert.equal(host.kept(), []);
  const back = host.did.map((line) => line.replace('devices/', ''));
  assert.equal(back.slice(0, 3), [
    `${GPU}/reset_method flr`,
    `${GPU}/reset 1`,
    `${GPU}/reset_method default`,
  ]);
  assert.equal(
    back.slice(3, 6),
    [`${AUDIO}/driver_override`, `${AUDIO}/driver/unbind ${AUDIO}`, `drivers_probe ${AUDIO}`].map((line) =>
      line.endsWith('override') ? `${line} ` : line,
    ),
  );
  await device.release();
  assert.equal(await host.drivers(), HOME);
});

test('a former override comes back, and a function without a driver stays without', async (t) => {
  const card = { ...CARD, [AUDIO]: { class: '0x040300', override: 'none-such' } };
  const host = await machine(t, card);
  const device = host.open();
  await through(device);
  assert.equal(await host.drivers(), AWAY);
  await device.release();
  assert.equal(await host.drivers(), ['nvidia', undefined]);
  assert.is((await host.plain.read(`/sys/bus/pci/devices/${AUDIO}/driver_override`))?.trim(), 'none-such');
});

test('what must not be taken is not touched', async (t) => {
  const foreign = { ...CARD, [DISK]: { class: '0x010802', driver: 'nvme' } };
  const cases: Array<[string, string, Record<string, Function>, Partial<PassthroughOptions>?]> = [
    ['not-ready', `${DISK} (0x010802, nvme) would have to go too`, foreign],
    [
      'busy',
      'is with vfio-pci, the rest is not',
      { ...CARD, [AUDIO]: { class: '0x040300', driver: 'vfio-pci' } },
    ],
    ['not-ready', 'the bridge', { ...CARD, [BRIDGE]: { class: '0x060400', driver: 'shpchp' } }],
    ['bad-input', 'there is no such PCI device', CARD, { addresses: ['0000:99:00.0'] }],
    ['bad-input', 'expected a function of IOMMU group 12', CARD, { addresses: [GPU, '0000:70:00.0'] }],
  ];
  for (const [code, text, card, options] of cases) {
    const host = await machine(t, card);
    const error = await host
      .open(options)
      .bind()
      .catch((thrown) => thrown);
    assert.is((error as VouchError).code, code, messageOf(error));
    assert.match(messageOf(error), text);
    assert.match(messageOf(error), 'nothing was taken');
    assert.equal(host.did, []);
  }
  // Named, it may go, too.
  const host = await machine(t, foreign);
  await host.open({ addresses: [GPU, DISK] }).bind();
  assert.equal(await host.drivers(), [...AWAY, 'vfio-pci']);
});

test('no IOMMU, no vfio-pci, no node, a node in use: refused', async (t) => {
  const without = async (change: (host: Awaited<ReturnType<typeof machine>>) => Promise<unknown>) => {
    const host = await machine(t);
    await change(host);
    const error = await host
      .open()
      .bind()
      .catch((thrown) => thrown);
    assert.instance(error, VouchError);
    assert.equal(await host.drivers(), HOME, messageOf(error));
    return messageOf(error);
  };
  assert.match(await without(({ sys }) => rm(sys(GPU, 'iommu_group'))), 'turn the IOMMU on');
  assert.match(
    await without(({ put, at }) => put(at('sys/kernel/iommu_groups/12/name'), 'vfio-noiommu\n')),
    'without an IOMMU',
  );
  assert.match(
    await without(({ at }) => rm(at('sys/bus/pci/drivers/vfio-pci'), { recursive: true })),
    'modprobe vfio-pci',
  );
  assert.match(await without(({ at }) => rm(at('dev/vfio/12'))), 'given back');
  const host = await machine(t);
  const busy = { ...host.files, probe: async () => Promise.reject(new Error('EBUSY')) };
  assert.is(await codeOf(host.open({ files: busy }).bind()), 'busy');
  assert.equal(await host.drivers(), HOME);
});

test('a reset that does not clear the function is none', async (t) => {
  for (const resets of ['bus', 'pm bus', '', undefined]) {
    const gpu: Function = {
      class: '0x030200',
      driver: 'nvidia',
      ...(resets === undefined ? {} : { resets }),
    };
    const host = await machine(t, { ...CARD, [GPU]: gpu });
    const device = host.open();
    await device.bind();
    assert.is(await codeOf(device.reset()), 'not-ready', String(resets));
    assert.equal(await host.drivers(), HOME);
    assert.not.ok(host.did.some((line) => line.endsWith('/reset 1')));
  }
  // A device that fell off the bus reads as ones.
  const host = await machine(t);
  const device = host.open();
  await device.bind();
  await writeFile(host.sys(GPU, 'config'), Buffer.from([0xff, 0xff, 0xff, 0xff]));
  assert.is(await codeOf(device.reset()), 'device-lost');
  assert.is(await codeOf(device.check()), 'device-lost');
});

test('CC mode on is the only one; nobody to ask is a refusal', async (t) => {
  for (const ccMode of [
    async () => 'off',
    async () => 'devtools',
    async () => '',
    () => queryCcMode('/nonexistent/tool', GPU),
  ]) {
    const host = await machine(t);
    const device = host.open({ ccMode });
    await device.bind();
    await device.reset();
    assert.is(await codeOf(device.measure()), 'evidence-rejected');
    assert.equal(await host.drivers(), HOME);
  }
});

test("the tools' words for a mode", async (t) => {
  assert.is(ccModeIn('2024-01-01 INFO GPU 0000:65:00.0 H100 0x2331 BAR0 0x0 CC mode is on\n'), 'on');
  assert.is(ccModeIn('GPU 0000:65:00.0 CC mode is devtools'), 'devtools');
  assert.is(ccModeIn('CC status: ON\n'), 'on');
  assert.is(ccModeIn('CC status: OFF'), 'off');
  for (const text of [
    '',
    'all is well',
    'vGPU mode is on',
    'CC mode is on\nCC mode is off',
    'CC mode set to on',
  ])
    assert.throws(
      () => ccModeIn(text),
      (error: VouchError) => error.code === 'evidence-rejected',
      text,
    );
  const folder = await temporaryFolder(t);
  const tool = join(folder, 'tool');
  await writeFile(
    tool,
    '#!/bin/sh\n[ "$1 $2" = "--gpu-bdf=0000:65:00.0 --query-cc-mode" ] && echo "x CC mode is on" >&2\n',
  );
  await chmod(tool, 0o700);
  assert.is(await queryCcMode(tool, GPU), 'on');
  assert.is(await codeOf(queryCcMode(tool, AUDIO)), 'evidence-rejected');
  assert.is(pciAddress('0000:C1:00.0'), '0000:c1:00.0');
  for (const text of ['65:00.0', '0000:65:00', '0000:65:20.0', '0000:65:00.8', '../0000:65:00.0', ''])
    assert.throws(
      () => pciAddress(text),
      (error: VouchError) => error.code === 'bad-input',
      text,
    );
});

test('every access of the way there fails once: never ready, and given back', async (t) => {
  const counted = await machine(t);
  await through(counted.open());
  const total = counted.accesses();
  assert.ok(total > 40, String(total));
  const host = await machine(t);
  for (let at = 1; at <= total; at++) {
    host.breakAt(at);
    const error = await through(host.open()).catch((thrown) => thrown);
    assert.instance(error, VouchError, host.fault.what);
    assert.equal(await host.drivers(), HOME, `${host.fault.what}: ${messageOf(error)}`);
    assert.match(messageOf(error), /given back: |nothing was taken|not given back: /);
    for (const address of [GPU, AUDIO]) {
      const override = (await host.plain.read(`/sys/bus/pci/devices/${address}/driver_override`))?.trim();
      assert.ok(override === '' || override === '(null)', `${host.fault.what}: ${override}`);
    }
  }
});

test('what goes on failing on the way there is said, and stays closed until it is given back', async (t) => {
  const counted = await machine(t);
  await through(counted.open());
  const total = counted.accesses();
  let stuck = 0;
  const host = await machine(t);
  for (let at = 1; at <= total; at++) {
    host.breakAt(at, true);
    const device = host.open();
    const error = await through(device).catch((thrown) => thrown);
    assert.instance(error, VouchError, host.fault.what);
    const home = JSON.stringify(await host.drivers()) === JSON.stringify(HOME);
    if (!home) {
      stuck += 1;
      assert.match(
        messageOf(error),
        host.fault.what!.split(' ').at(-1)!.split('/').at(-1)!,
        messageOf(error),
      );
      assert.not.match(messageOf(error), '; given back');
    }
    // Once the fault is gone, so is the rest of it.
    const { what } = host.fault;
    host.breakAt(-1);
    await device.release();
    assert.equal(await host.drivers(), HOME, what);
  }
  assert.ok(stuck > 3, String(stuck));
});

test('every access of the way back fails once: said, and the next try succeeds', async (t) => {
  const host = await machine(t);
  const first = host.open();
  await through(first);
  host.breakAt(-1);
  await first.release();
  const total = host.accesses();
  for (let at = 1; at <= total; at++) {
    const device = host.open();
    host.breakAt(-1);
    await through(device);
    host.breakAt(at);
    const error = await device.release().catch((thrown) => thrown);
    assert.instance(error, Error, host.fault.what);
    await device.release();
    assert.equal(await host.drivers(), HOME, host.fault.what);
  }
});

test('what a VM has had and cannot be cleared stays away from the host', async (t) => {
  const host = await machine(t);
  const device = host.open();
  await through(device);
  const methods = await host.plain.read(`/sys/bus/pci/devices/${GPU}/reset_method`);
  await writeFile(host.sys(GPU, 'reset_method'), 'bus\n');
  assert.is(await codeOf(device.release()), 'not-ready');
  assert.equal(await host.drivers(), AWAY);
  await writeFile(host.sys(GPU, 'reset_method'), methods!);
  await device.release();
  assert.equal(await host.drivers(), HOME);
});

test('a VM that still has the group keeps it', async (t) => {
  const host = await machine(t);
  let open = false;
  const files = {
    ...host.files,
    probe: (path: string) => (open ? Promise.reject(new Error('EBUSY')) : host.files.probe(path)),
  };
  const device = host.open({ files });
  await through(device);
  open = true;
  assert.is(await codeOf(device.release()), 'busy');
  assert.equal(await host.drivers(), AWAY);
  open = false;
  await device.release();
  assert.equal(await host.drivers(), HOME);
});

test('a driver that does not let go is not waited for', async (t) => {
  const host = await machine(t);
  const files: HostFiles = {
    ...host.files,
    write: (path, text) => (path.endsWith('unbind') ? new Promise(() => {}) : host.files.write(path, text)),
  };
  const error = await host
    .open({ files, patienceMs: 1_000 })
    .bind()
    .catch((thrown) => thrown);
  assert.is((error as VouchError).code, 'timeout');
  assert.match(messageOf(error), 'is the GPU still in use?');
  assert.equal(await host.drivers(), HOME);
});

test('a crash half-way, or while a VM has it, is made good at the next start', async (t) => {
  const host = await machine(t);
  const crashed = host.open();
  await crashed.bind();
  // The record outlives the process; the first function was given back, the second not yet.
  await writeFile(host.sys(GPU, 'driver_override'), '\n');
  await host.attach(GPU, 'nvidia');
  const next = host.open();
  await next.bind();
  assert.equal(await host.drivers(), AWAY);
  host.did.length = 0;
  const after = host.open();
  await after.bind();
  assert.equal(host.did, [], 'all of it is there already');
  await after.reset();
  await after.measure();
  await after.release();
  assert.equal(await host.drivers(), HOME);
  assert.equal(host.kept(), []);
});

test('a function that another takes meanwhile ends it', async (t) => {
  const host = await machine(t);
  const device = host.open();
  await through(device);
  await host.attach(AUDIO, 'snd_hda_intel');
  assert.is(await codeOf(device.check()), 'device-lost');
  const other = host.open();
  await host.attach(AUDIO, 'nouveau');
  assert.is(await codeOf(other.measure()), 'device-lost');
});

test('the actor: ready only by the whole way; drained it is at home', async (t) => {
  process.env.VOUCH_HOME = await temporaryFolder(t);
  const tool = join(process.env.VOUCH_HOME, 'tool');
  const say = (mode: string) => writeFile(tool, `#!/bin/sh\necho "CC mode is ${mode}"\n`, { mode: 0o700 });
  const host = await machine(t);
  const run = async () => {
    const cleanups: Array<() => unknown> = [];
    const lines: string[] = [];
    const started = await passthroughRole(
      {},
      { pci: [GPU], ccTool: tool, files: host.files },
    )({
      role: 'gpu',
      id: 'g1',
      source: 'gpu.g1',
      bus: undefined as never,
      log: (line) => void lines.push(line),
      run: ({ machine: wired, input }) =>
        createActor(wired as typeof gpuDeviceMachine, { input } as never).start() as never,
      onStop: (cleanup) => void cleanups.push(cleanup),
    });
    t.defer(() => cleanups.forEach((cleanup) => void cleanup()));
    const actor = started.actor;
    const reach = (state: string) =>
      new Promise<void>((resolve) => {
        const look = () => String(actor.getSnapshot().value) === state && resolve();
        actor.subscribe(look);
        look();
      });
    return { ...started, reach, lines };
  };
  await say('off');
  const closed = await run();
  await closed.reach('failed');
  assert.match(closed.lines.join('\n'), 'expected CC mode on, got off; given back');
  assert.equal(await host.drivers(), HOME);

  await say('on');
  const device = await run();
  await device.reach('ready');
  assert.equal(await host.drivers(), AWAY);
  assert.match(device.lines.join('\n'), 'ready for a VM as /dev/vfio/12');
  const { evidence } = (device.actor.getSnapshot() as { context: { evidence: string } }).context;
  assert.match(evidence, /^[0-9a-f]{64}$/);
  device.actor.send(device.drain as never);
  await device.reach('unbound');
  assert.equal(await host.drivers(), HOME);
});

test.run();

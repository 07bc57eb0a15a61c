/**
 * A GPU on its way to a VM and back, on a tree of real files that behaves as the kernel does where it matters: a write
 * to `unbind` or `drivers_probe` moves the driver's link. Every single access to it fails once, and in every case the
 * device has to end in a state that is defined and said.
 */
import { rm, writeFile } from 'node:fs/promises';
import { messageOf, VouchError } from '../../../protocols/errors.ts';
import { queryCcMode } from '../../../runtime/passthrough/cc-mode.ts';
import type { PassthroughOptions } from '../../../runtime/passthrough/device.ts';
import type { HostFiles } from '../../../runtime/passthrough/host-files.ts';
import { assert, suite } from '../../harness.ts';
import { codeOf } from '../nats/nats-fixture.ts';

import {
  AUDIO,
  AWAY,
  BRIDGE,
  CARD,
  DISK,
  GPU,
  HOME,
  machine,
  type PciFunction,
  through,
} from './machine-fixture.ts';

const test = suite('GPU passthrough', { timeoutMs: 110_000 });

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
  const cases: Array<[string, string, Record<string, PciFunction>, Partial<PassthroughOptions>?]> = [
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
    const gpu: PciFunction = {
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

test.run();

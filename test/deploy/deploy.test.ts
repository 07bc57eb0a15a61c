/**
 * What can be said of deploy/ without running it: units by systemd's own check, YAML by a parser, commands by our own command
 * line, images neither of root nor with a root file system that can be written.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from '@commander-js/extra-typings';
import { type AnyStateMachine, createActor } from 'xstate';
import { enclaveCounts, enclaveMachine } from '../../actors/enclave.ts';
import { gpuDeviceCounts, gpuDeviceMachine } from '../../actors/gpu-device.ts';
import { inferenceRunnerCounts, inferenceRunnerMachine } from '../../actors/inference-runner.ts';
import { keyBrokerCounts, keyBrokerMachine } from '../../actors/key-broker.ts';
import { msmWorkerCounts, msmWorkerMachine } from '../../actors/msm-worker.ts';
import { proofCoordinatorCounts, proofCoordinatorMachine } from '../../actors/proof-coordinator.ts';
import { addCommands } from '../../runtime/commands/commands.ts';
import { gatewayMetrics } from '../../runtime/gateway/metrics.ts';
import { startHealth } from '../../runtime/roles/health.ts';
import { assert, suite } from '../harness.ts';

const test = suite('deploy', { timeoutMs: 60_000 });
const DEPLOY = fileURLToPath(new URL('../../deploy', import.meta.url));
/** Who counts what: the last table of the document's numbers. */
const COUNTED = [
  ['runner', inferenceRunnerMachine, inferenceRunnerCounts],
  ['worker', msmWorkerMachine, msmWorkerCounts],
  ['coordinator', proofCoordinatorMachine, proofCoordinatorCounts],
  ['broker', keyBrokerMachine, keyBrokerCounts],
  ['enclave', enclaveMachine, enclaveCounts],
  ['gpu', gpuDeviceMachine, gpuDeviceCounts],
] as const;
const read = (file: string): string => readFileSync(join(DEPLOY, file), 'utf8');

test('systemd finds nothing wrong with the units', (t) => {
  if (spawnSync('systemd-analyze', ['--version']).status !== 0) t.skip('no systemd-analyze');
  const folder = mkdtempSync(join(tmpdir(), 'vouch-units-'));
  t.defer(() => rmSync(folder, { recursive: true, force: true }));
  const names = readdirSync(join(DEPLOY, 'systemd'));
  // Only that the program is not installed there would be wrong.
  for (const name of names)
    writeFileSync(
      join(folder, name.replace('@', '@w')),
      read(`systemd/${name}`).replaceAll('/opt/vouch/runtime/vouch.mjs', '/bin/true'),
    );
  const units = names.map((name) => join(folder, name.replace('@', '@w')));
  const { status, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', ...units], {
    encoding: 'utf8',
  });
  const ours = stderr.split('\n').filter((line) => /vouch/.test(line));
  assert.equal([status, ours], [0, []], stderr);
});

/** Documents of a YAML file, by Python's parser. */
function yaml(file: string): Record<string, unknown>[] | undefined {
  const program = 'import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(sys.stdin))))';
  for (const python of ['/usr/bin/python3', 'python3']) {
    const { status, stdout } = spawnSync(python, ['-c', program], { input: read(file), encoding: 'utf8' });
    if (status === 0) return JSON.parse(stdout);
  }
  return undefined;
}

/** Whether our command line takes these words; nothing is run. */
async function demandTaken(words: readonly string[]): Promise<void> {
  const program = new Command('vouch').exitOverride().enablePositionalOptions();
  await addCommands(program, (name) => name === words[0]);
  const command = program.commands.find((one) => one.name() === words[0]);
  assert.ok(command, words.join(' '));
  command!.exitOverride().configureOutput({ writeErr: () => {} });
  let ran = false;
  command!.action(() => {
    ran = true;
  });
  await program.parseAsync([...words], { from: 'user' });
  assert.ok(ran, words.join(' '));
}

test('containers are not root, cannot write their root, and say what the command line takes', async (t) => {
  const files = ['compose.yaml', 'compose.fleet.yaml'].map(yaml);
  const kubernetes = yaml('kubernetes/vouch.yaml');
  if (!kubernetes || files.includes(undefined)) t.skip('no Python with yaml (apt-get install python3-yaml)');
  interface Service {
    image: string;
    read_only?: boolean;
    cap_drop?: string[];
    command: string[];
  }
  for (const [compose] of files as { services: Record<string, Service> }[][])
    for (const [name, service] of Object.entries(compose!.services)) {
      assert.equal([service.read_only, service.cap_drop], [true, ['ALL']], name);
      const words = service.command.map((word) => word.replace(/\$\{\w+:-(\w+)\}/, '$1'));
      if (service.image === 'vouch') await demandTaken(words);
    }
  interface Pod {
    spec: {
      template: {
        spec: {
          securityContext: { runAsNonRoot: boolean };
          containers: { args: string[]; securityContext: Record<string, unknown> }[];
        };
      };
    };
  }
  for (const { spec } of kubernetes as unknown as Pod[]) {
    assert.ok(spec.template.spec.securityContext.runAsNonRoot);
    for (const { args, securityContext } of spec.template.spec.containers) {
      assert.ok(securityContext.readOnlyRootFilesystem === true && !securityContext.allowPrivilegeEscalation);
      await demandTaken(args);
    }
  }
  const dockerfile = read('Dockerfile');
  assert.match(dockerfile, /^USER 10001:10001$/m);
  const [, last] = /[\s\S]*^FROM ([\s\S]*)$/m.exec(dockerfile)!;
  assert.not.match(last!, /npm|curl|ADD |sudo/);
  for (const [, version] of dockerfile.matchAll(/^FROM \S+:(\S+)/gm)) assert.not.equal(version, 'latest');
});

test('every number of the dashboard and of the document exists', async (t) => {
  const health = await startHealth({ host: '127.0.0.1', port: 0 });
  t.defer(() => health.close());
  const { register } = gatewayMetrics({
    connected: () => true,
    inFlight: () => 0,
    expiries: () => new Map(),
  });
  const said = `${await (await fetch(`${health.url}/metrics`)).text()}\n${await register.metrics()}`;
  const known = new Set([...said.matchAll(/^# TYPE (\w+) /gm)].map(([, name]) => name!));
  const dashboard = read('grafana-dashboard.json');
  const { panels } = JSON.parse(dashboard) as { panels: { targets: { expr: string }[] }[] };
  const shown = panels
    .flatMap(({ targets }) => targets)
    .flatMap(({ expr }) => [...expr.matchAll(/\bvouch_\w+/g)].map(([name]) => name.replace(/_bucket$/, '')));
  const document = readFileSync(join(DEPLOY, '../docs/OPERATING.md'), 'utf8');
  const told = [...document.matchAll(/`(vouch_[a-z_]+)`/g)].map(([, name]) => name!);
  assert.ok(shown.length >= 10 && told.length >= 10);
  const counts = [...document.matchAll(/^\| (\w+) \| (.*`\w+`.*) \|$/gm)];
  for (const [role, machine, countsOf] of COUNTED) {
    const line = counts.find(([, name]) => name === role);
    const names = [...(line?.[2] ?? '').matchAll(/`(\w+)`/g)].map(([, name]) => name!);
    const { context } = createActor(machine as AnyStateMachine, { input: { id: 'x' } }).getSnapshot();
    const counted = Object.keys(countsOf(context as never)).filter((name) => name !== 'hardware');
    assert.equal(names, counted, role);
  }
  for (const name of [...shown, ...told]) assert.ok(known.has(name), name);
  const ours = [...known].filter((name) => !/^vouch_(process_(?!uptime|resident_bytes)|nodejs_)/.test(name));
  for (const name of ours)
    assert.ok(told.includes(name) && shown.includes(name), `${name} is told and shown`);
});

test.run();

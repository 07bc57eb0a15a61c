/**
 * `npm run bench -- NAME... [--rows PATTERN] [--json]`: measures, and prints a table, or with `--json` one object
 * `{machine, commit, rows}` on stdout; everything else goes to stderr. Exit code 0 when every demand holds, 1
 * when one does not or a result was wrong, 2 for wrong use.
 */
import { parseArgs } from 'node:util';
import { messageOf } from '../../protocols/errors.ts';
import { describeCommit, describeMachine } from './machine.ts';
import { type BenchContext, type Benchmark, type Row, table } from './result.ts';

const BENCHMARKS: Record<string, () => Promise<Benchmark>> = {
  main: async () => (await import('./main.ts')).benchmarkMain,
  gateway: async () => (await import('./gateway.ts')).benchmarkGatewayAlone,
  prover: async () => (await import('./prover.ts')).benchmarkProver,
  gpu: async () => (await import('./gpu.ts')).benchmarkGpu,
  attestation: async () => (await import('./attestation.ts')).benchmarkAttestation,
  dist: async () => (await import('./dist.ts')).benchmarkDist,
  models: async () => (await import('./models.ts')).benchmarkModels,
  monitor: async () => (await import('./monitor.ts')).benchmarkMonitor,
  big: async () => (await import('./big.ts')).benchmarkBig,
  chat: async () => (await import('./chat.ts')).benchmarkChat,
};
const NAMES = Object.keys(BENCHMARKS).join(', ');
const USAGE = `npm run bench -- NAME... [--rows PATTERN] [--json]

  NAME             ${NAMES}
  --rows PATTERN   only rows whose name matches this regular expression
  --max-bits N     gpu, dist, big, chat: sizes of at most 2^N
  --keep FOLDER    big: where its files stay, and are taken from the next time
  --minutes N      gpu, dist: begin nothing after N minutes (8)
  --plain          prover: without V8's fused vectors
  --json           one JSON object on stdout instead of a table`;

const say = (line: string): void => void process.stderr.write(`${line}\n`);
const { names, json, ...options } = readOptions();

const interruption = new AbortController();
for (const event of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(event, () => {
    if (interruption.signal.aborted) process.exit(130);
    say('\nstopping; once more to end at once');
    interruption.abort();
  });
}

try {
  const machine = await describeMachine();
  const commit = describeCommit();
  const rows: Row[] = [];
  for (const name of names) {
    const benchmark = await BENCHMARKS[name]!();
    rows.push(
      ...(await benchmark({ say, signal: interruption.signal, ...options })).filter(({ name }) =>
        options.wants(name),
      ),
    );
  }
  if (rows.length === 0) throw new Error('no row has such a name');
  if (json) process.stdout.write(`${JSON.stringify({ machine, commit, rows })}\n`);
  else {
    const { cpu, cores, memoryGiB, node, natsServer, gpu, loadBefore } = machine;
    console.log(
      `${cpu}, ${cores} cores, ${memoryGiB} GiB; Node ${node}, nats-server ${natsServer}, GPU ${gpu}; load before ${loadBefore}; commit ${commit}\n`,
    );
    console.log(table(rows));
  }
  process.exitCode = rows.some(({ pass }) => pass === false) ? 1 : 0;
} catch (error) {
  say(`bench: ${interruption.signal.aborted ? 'stopped' : messageOf(error)}`);
  process.exitCode = interruption.signal.aborted ? 130 : 1;
}
// Libraries keep threads that would hold the process; all that we started has ended.
process.exit();

function readOptions(): Omit<BenchContext, 'say' | 'signal'> & {
  names: string[];
  json: boolean;
} {
  let why: string;
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        json: { type: 'boolean', default: false },
        rows: { type: 'string', default: '' },
        'max-bits': { type: 'string' },
        minutes: { type: 'string' },
        plain: { type: 'boolean', default: false },
        keep: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) {
      console.log(USAGE);
      process.exit(0);
    }
    const unknown = positionals.find((name) => !Object.hasOwn(BENCHMARKS, name));
    const pattern = new RegExp(values.rows, 'i');
    if (unknown === undefined && positionals.length > 0) {
      return {
        names: [...new Set(positionals)],
        json: values.json,
        wants: (name) => pattern.test(name),
        maxBits: numberOf('max-bits', values['max-bits'], 4, 26),
        minutes: numberOf('minutes', values.minutes, 1, 600),
        plain: values.plain,
        keep: values.keep,
      };
    }
    why = unknown === undefined ? 'no benchmark was named' : `there is no benchmark called ${unknown}`;
  } catch (error) {
    why = messageOf(error).split(/[.\n]/)[0]!;
  }
  say(`bench: ${why}; expected names among: ${NAMES} (--help says more)`);
  process.exit(2);
}

function numberOf(name: string, text: string | undefined, min: number, max: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new RangeError(`--${name}: expected a whole number from ${min} to ${max}, got "${text}"`);
}

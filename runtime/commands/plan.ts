/**
 * `vouch plan`: what a proof would take on machines that a file describes: a model, by the decisions that a coordinator
 * makes, played through in numbers. Nothing is started and nobody is asked.
 */
import { type Command, InvalidArgumentError } from '@commander-js/extra-typings';
import { z } from 'zod';
import { VouchError } from '../../protocols/errors.ts';
import {
  BOUNDS,
  boundsOf,
  type CircuitShape,
  evenCircuit,
  type Forecast,
  forecast,
  type Installation,
  MEASURED,
  withFurtherNode,
} from '../msm/shards/forecast.ts';
import type { SimulatedNode } from '../msm/shards/simulation.ts';
import type { OptionsOf } from './declaration.ts';
import { readJson } from './json-files.ts';
import { type Print, print } from './terminal.ts';

const MAX_NODES = 1024;
const MIB = 2 ** 20;

const rate = (what: string) => z.number().positive().max(1e15).describe(what);
const Node = z.strictObject({
  id: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/),
  count: z.number().int().min(1).max(MAX_NODES).default(1).describe('so many of its kind'),
  g1: rate('points a second of a sum of 2^16 in G1, scalars uniform; `vouch status` shows those of a GPU'),
  g2: rate('the same in G2'),
  megabitsPerSecond: rate('of its link').default(1000),
  roundTripMs: z.number().min(0).max(60_000).default(0.5),
  memoryMiB: rate('that scalars may take of it, 32 bytes each').default(256),
});
const Coordinator = z.strictObject({
  constraintsPerSecond: rate('of the witness').default(MEASURED.coordinator.witnessPerSecond),
  transformRowsPerSecond: rate('at 2^16').default(MEASURED.coordinator.transformPerSecond),
  sealMegabytesPerSecond: rate('sealed and sent').default(MEASURED.coordinator.sealBytesPerSecond / 1e6),
  finishMs: z
    .number()
    .min(0)
    .max(60_000)
    .default(MEASURED.coordinator.finishMs)
    .describe('to assemble and verify'),
});
const Server = z.strictObject({
  megabytesPerSecond: rate('from one client to another').default(MEASURED.server.bytesPerSecond / 1e6),
  maxPayloadMiB: z
    .number()
    .min(0.5)
    .max(64)
    .default(MEASURED.server.maxPieceBytes / MIB)
    .describe('of the scalars in one message'),
});
/** Defaults are what this project's own machine was measured at, 2 cores (docs/BENCHMARKS.md). */
export const Workers = z.strictObject({
  nodes: z.array(Node).min(1).max(MAX_NODES),
  coordinator: Coordinator.prefault({}),
  server: Server.prefault({}),
});

const domainOf = (text: string): number => {
  const power = /^2\^(\d{1,2})$/.exec(text);
  const value = power ? 2 ** Number(power[1]) : Number(text);
  if (!Number.isInteger(Math.log2(value)) || value < 2 ** 8 || value > 2 ** 27)
    throw new InvalidArgumentError('expected a power of two from 2^8 to 2^27, such as 2^22.');
  return value;
};
const shareOf = (text: string): number => {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0 && value <= 1))
    throw new InvalidArgumentError('expected a number from 0 to 1, such as 0.9.');
  return value;
};

const planned = (command: Command) =>
  command
    .requiredOption(
      '--workers <file>',
      'JSON: {"nodes": [{"id": "gpu", "count": 4, "g1": 3e6, "g2": 1e6, "megabitsPerSecond": 1000, "roundTripMs": 0.5}]}, and rates of "coordinator" and "server"',
    )
    .option('--domain <size>', 'constraints, a power of two, such as 2^22', domainOf)
    .option('--table', '2^16 to 2^26 constraints by 1 to 128 nodes of the first kind instead', false)
    .option('--bits <share>', 'of the wires that the constraints make bits', shareOf, 0.9)
    .option('--json', 'one JSON object, with every piece', false);

export const define = (command: Command) => planned(command).action((options) => planCommand(options, print));

/** Reads who works; throws `bad-file` with the first field that is not as it should be. */
export function readWorkers(file: string): Installation {
  const result = Workers.safeParse(readJson(file, 'workers'));
  if (!result.success) {
    const { path: at = [], message = '' } = result.error.issues[0] ?? {};
    const field = at.length > 0 ? at.map(String).join('.') : 'the file';
    throw new VouchError(
      'bad-file',
      `workers ${file}: ${field}: ${message}; vouch plan --help has an example`,
    );
  }
  const { nodes: kinds, coordinator, server } = result.data;
  const nodes = kinds.flatMap(({ id, count, ...kind }) =>
    Array.from({ length: count }, (_, index) => nodeOf(count === 1 ? id : `${id}-${index + 1}`, kind)),
  );
  const twice = nodes.find(({ id }, index) => nodes.findIndex((other) => other.id === id) !== index);
  if (twice)
    throw new VouchError(
      'bad-file',
      `workers ${file}: nodes: expected ids that differ, got ${twice.id} twice`,
    );
  if (nodes.length > MAX_NODES)
    throw new VouchError(
      'bad-file',
      `workers ${file}: nodes: expected at most ${MAX_NODES}, got ${nodes.length}`,
    );
  return {
    nodes,
    coordinator: {
      witnessPerSecond: coordinator.constraintsPerSecond,
      transformPerSecond: coordinator.transformRowsPerSecond,
      sealBytesPerSecond: coordinator.sealMegabytesPerSecond * 1e6,
      finishMs: coordinator.finishMs,
    },
    server: {
      bytesPerSecond: server.megabytesPerSecond * 1e6,
      maxPieceBytes: Math.floor(server.maxPayloadMiB * MIB),
    },
  };
}

const nodeOf = (id: string, kind: Omit<z.infer<typeof Node>, 'id' | 'count'>): SimulatedNode => ({
  id,
  rates: { g1: kind.g1, g2: kind.g2 },
  bytesPerSecond: (kind.megabitsPerSecond * 1e6) / 8,
  roundTripMs: kind.roundTripMs,
  memoryBytes: kind.memoryMiB * MIB,
});

/** What `--json` prints; every time is modelled, in milliseconds. */
export function planOf(installation: Installation, circuit: CircuitShape) {
  const { nodes } = installation;
  const whole = forecast(installation, circuit);
  return {
    modelled: true as const,
    domain: circuit.domain,
    totalMs: whole.totalMs,
    phases: whole.phases,
    sumsEfficiency: whole.sumsEfficiency,
    bytes: whole.run.bytes,
    lastNode: whole.lastNode,
    bounds: boundsOf(installation, circuit),
    furtherNode: withFurtherNode(installation, circuit),
    nodes: sharesOf(nodes, whole),
    pieces: whole.run.pieces,
  };
}

/** What each node did, as the model has it. */
const sharesOf = (nodes: readonly SimulatedNode[], { run }: Forecast) =>
  nodes.map(({ id }) => {
    const own = run.pieces.filter(({ node, endedAt }) => node === id && endedAt !== undefined);
    const rows = (part: string) =>
      own
        .filter(({ piece }) => piece.part === part)
        .reduce((sum, { piece }) => sum + (piece.count * piece.bits.count) / 256, 0);
    return {
      id,
      pieces: own.length,
      copies: run.pieces.filter(({ node, copy }) => node === id && copy).length,
      wires: Math.round(rows('wires')),
      quotient: Math.round(rows('quotient')),
      busyMs: run.busyMs.nodes.get(id) ?? 0,
    };
  });

const seconds = (ms: number): string => (ms / 1000).toPrecision(3);
const columns = (rows: readonly (readonly (string | number)[])[]): string[] => {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => String(row[i]).length)));
  return rows.map((row) =>
    row
      .map((cell, i) => (i === 0 ? String(cell).padEnd(widths[i]!) : String(cell).padStart(widths[i]!)))
      .join('  '),
  );
};
const TABLE: { readonly bits: readonly number[]; readonly nodes: readonly number[] } = {
  bits: [16, 18, 20, 22, 24, 26],
  nodes: [1, 2, 8, 32, 128],
};
const BOUND_SIGN = { witness: 'W', transform: 'T', sealing: 'C', server: 'S', link: 'L', sums: 'M' } as const;

/** Request to proof by size and number of equal nodes, each with what bounds it. */
export function tableOf(installation: Installation, bits: number, sizes = TABLE) {
  const kind = installation.nodes[0]!;
  return sizes.bits.map((size) => {
    const circuit = evenCircuit(2 ** size, bits);
    const cells = sizes.nodes.map((count) => {
      const nodes = Array.from({ length: count }, (_, i) => ({ ...kind, id: `${kind.id}-${i + 1}` }));
      const equal = { ...installation, nodes };
      const { totalMs, sumsEfficiency } = forecast(equal, circuit);
      return { nodes: count, totalMs, sumsEfficiency, bound: boundsOf(equal, circuit)[0]!.bound };
    });
    return { domain: 2 ** size, cells };
  });
}

function printTable(
  installation: Installation,
  { bits, json }: { bits: number; json: boolean },
  print: Print,
): void {
  const rows = tableOf(installation, bits);
  if (json) {
    print({ modelled: true, rows });
    return;
  }
  print(
    'MODELLED by counts of additions and stated rates, not measured: seconds from request to proof, what bounds it',
  );
  print('');
  print(`| constraints | ${TABLE.nodes.map((n) => (n === 1 ? '1 node' : `${n} nodes`)).join(' | ')} |`);
  print(`|---|${TABLE.nodes.map(() => '---:').join('|')}|`);
  for (const { domain, cells } of rows) {
    const texts = cells.map(({ totalMs, bound }) => `${seconds(totalMs)} ${BOUND_SIGN[bound]}`);
    print(`| 2^${Math.log2(domain)} | ${texts.join(' | ')} |`);
  }
  print('');
  for (const [bound, sign] of Object.entries(BOUND_SIGN))
    print(`${sign}: ${BOUNDS[bound as keyof typeof BOUNDS]}`);
}

/** So many nodes are listed one by one. */
const LISTED = 32;

export async function planCommand(options: OptionsOf<typeof planned>, print: Print): Promise<void> {
  const installation = readWorkers(options.workers);
  if (options.table) {
    printTable(installation, options, print);
    return;
  }
  if (options.domain === undefined)
    throw new VouchError(
      'bad-input',
      '--domain: expected the number of constraints, such as 2^22, or --table',
    );
  const circuit = evenCircuit(options.domain, options.bits);
  const plan = planOf(installation, circuit);
  if (options.json) {
    print(plan);
    return;
  }
  const { nodes } = plan;
  print('MODELLED by counts of additions and stated rates, not measured');
  print(
    `domain 2^${Math.log2(plan.domain)}, ${Math.round(100 * options.bits)} % of the wires bits, ${nodes.length} nodes, ${plan.pieces.length} pieces, ${(plan.bytes / plan.domain).toFixed(1)} bytes a constraint`,
  );
  print('');
  for (const line of columns([
    ['phase', 'from, s', 'to, s'],
    ...plan.phases.map(({ name, fromMs, toMs }) => [name, seconds(fromMs), seconds(toMs)]),
  ]))
    print(line);
  print('');
  for (const line of columns([
    ['node', 'pieces', 'copies', 'rows of wires', 'of the quotient', 'busy, s'],
    ...nodes
      .slice(0, LISTED)
      .map(({ id, pieces, copies, wires, quotient, busyMs }) => [
        id,
        pieces,
        copies,
        wires,
        quotient,
        seconds(busyMs),
      ]),
  ]))
    print(line);
  if (nodes.length > LISTED) print(`and ${nodes.length - LISTED} more; --json has them all`);
  print('');
  print(
    `request to proof ${seconds(plan.totalMs)} s; sums ${Math.round(100 * plan.sumsEfficiency)} % efficient; the last was ${plan.lastNode}`,
  );
  for (const { bound, totalMs } of plan.bounds.filter(({ totalMs }) => totalMs < plan.totalMs * 0.99))
    print(`bound by ${BOUNDS[bound]}: ${seconds(totalMs)} s if it took no time`);
  const { like, totalMs } = plan.furtherNode;
  const gain = Math.round(100 * (1 - totalMs / plan.totalMs));
  print(`a further node like ${like}: ${seconds(totalMs)} s, ${gain > 0 ? `${gain} % less` : 'no gain'}`);
}

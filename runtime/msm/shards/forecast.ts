/**
 * How long a proof would take on machines that are described in numbers, and which of them is the bound. Pure. A model: the
 * sums are counted in additions (work.ts), everything else is bytes and constraints over stated rates, played through by the
 * ledger itself (simulation.ts).
 *
 * What bounds a proof is found by asking what it would take if one of them took no time. Not modelled: that sealing, sending
 * and transforms share the coordinator's cores, that nodes share a host, and the first fetch of a key's bases.
 */
import { type SimulatedNode, type SimulatedRun, simulate } from './simulation.ts';
import { ALL_BITS, computeMs, type PartShape, quotientShape, type Rates, wiresShape } from './work.ts';

export interface CoordinatorRates {
  /** constraints a second, of the witness */
  readonly witnessPerSecond: number;
  /** rows a second of the transforms at 2^16; a larger domain takes longer a row, by the logarithm */
  readonly transformPerSecond: number;
  /** bytes a second that it seals and sends */
  readonly sealBytesPerSecond: number;
  /** for assembling and verifying */
  readonly finishMs: number;
}

export interface ServerRates {
  /** bytes a second from one client to another */
  readonly bytesPerSecond: number;
  /** of one message's data */
  readonly maxPieceBytes: number;
}

export interface Installation {
  readonly nodes: readonly SimulatedNode[];
  readonly coordinator: CoordinatorRates;
  readonly server: ServerRates;
}

/** What this project's own machine was measured at, 2 cores (docs/BENCHMARKS.md): for whoever knows no better. */
export const MEASURED: Omit<Installation, 'nodes'> = {
  coordinator: {
    witnessPerSecond: 1_000_000,
    transformPerSecond: 500_000,
    sealBytesPerSecond: 200e6,
    finishMs: 130,
  },
  server: { bytesPerSecond: 350e6, maxPieceBytes: 7.5 * 2 ** 20 },
};

export interface CircuitShape {
  /** constraints, and rows of the quotient */
  readonly domain: number;
  readonly wires: number;
  readonly shapes: readonly [wires: PartShape, quotient: PartShape];
}

/** A circuit with as many wires as constraints, unless they are counted, of which a part are bits, evenly spread. */
export function evenCircuit(domain: number, bits: number, wires = domain): CircuitShape {
  const isBit = (row: number) => Math.floor((row + 1) * bits) > Math.floor(row * bits);
  const shapes = [
    wiresShape({ rows: wires, privateFrom: 0, isBit }),
    quotientShape({ rows: domain }),
  ] as const;
  return { domain, wires, shapes };
}

export interface Phase {
  readonly name: 'witness' | 'transform' | 'wires' | 'quotient' | 'finish';
  readonly fromMs: number;
  readonly toMs: number;
}

/** What a proof can be waiting for. */
export const BOUNDS = {
  witness: "coordinator's CPU: witness",
  transform: "coordinator's CPU: transforms",
  sealing: "coordinator's CPU: sealing and sending",
  server: 'server',
  link: 'links of the nodes',
  sums: 'sums',
} as const;
export type Bound = keyof typeof BOUNDS;

export interface Forecast {
  readonly totalMs: number;
  readonly phases: readonly Phase[];
  readonly run: SimulatedRun;
  /** of the time in which there was something to sum, the part that would do if sums could be shared without any loss */
  readonly sumsEfficiency: number;
  /** whose piece was the last */
  readonly lastNode: string | undefined;
}

/** Throws RangeError when the sums do not end within a day: no node is there that can make them. */
export function forecast(installation: Installation, circuit: CircuitShape): Forecast {
  const { nodes, coordinator, server } = installation;
  const { domain, shapes } = circuit;
  const witnessMs = (1000 * domain) / coordinator.witnessPerSecond;
  const transformMs =
    ((1000 * domain) / coordinator.transformPerSecond) * (Math.log2(Math.max(2, domain)) / 16);
  const readyAt = { wires: witnessMs, quotient: witnessMs + transformMs };
  const run = simulate({
    parts: shapes.map((shape) => ({ shape, readyAt: readyAt[shape.part] })),
    nodes,
    maxPieceBytes: server.maxPieceBytes,
    sealBytesPerSecond: coordinator.sealBytesPerSecond,
    serverBytesPerSecond: server.bytesPerSecond,
  });
  if (run.endMs === Number.POSITIVE_INFINITY)
    throw new RangeError('nodes: expected at least one that can make sums in both groups within a day');
  const ends = run.pieces.filter(({ endedAt }) => endedAt !== undefined);
  const endOf = (part: PartShape['part']) =>
    Math.max(
      readyAt[part],
      ...ends.filter(({ piece }) => piece.part === part).map(({ endedAt }) => endedAt!),
    );
  const totalMs = run.endMs + coordinator.finishMs;
  const [wires, quotient] = [
    { name: 'wires', fromMs: readyAt.wires, toMs: endOf('wires') },
    { name: 'quotient', fromMs: readyAt.quotient, toMs: endOf('quotient') },
  ] as const;
  const both = wires.toMs - wires.fromMs + quotient.toMs - quotient.fromMs;
  const summingMs = both - Math.max(0, wires.toMs - quotient.fromMs);
  return {
    totalMs,
    phases: [
      { name: 'witness', fromMs: 0, toMs: witnessMs },
      { name: 'transform', fromMs: witnessMs, toMs: readyAt.quotient },
      wires,
      quotient,
      { name: 'finish', fromMs: run.endMs, toMs: totalMs },
    ],
    run,
    sumsEfficiency: idealSumsMs(circuit, nodes) / summingMs,
    lastNode: ends.toSorted((a, b) => b.endedAt! - a.endedAt!)[0]?.node,
  };
}

const fastestOf = (nodes: readonly SimulatedNode[]): SimulatedNode =>
  nodes.reduce((best, node) => (node.rates.g1 + node.rates.g2 > best.rates.g1 + best.rates.g2 ? node : best));

/** What the proof would take with one node more, like the fastest. */
export function withFurtherNode(
  installation: Installation,
  circuit: CircuitShape,
): { like: string; totalMs: number } {
  const { nodes } = installation;
  const like = fastestOf(nodes);
  const { totalMs } = forecast(
    { ...installation, nodes: [...nodes, { ...like, id: `${like.id}+` }] },
    circuit,
  );
  return { like: like.id, totalMs };
}

const wholeMs = (shape: PartShape, rates: Rates) =>
  computeMs(shape, { from: 0, count: shape.rows, bits: ALL_BITS }, rates);

/** The time of all sums if they could be shared without loss: each node as fast as with one sum of everything. */
function idealSumsMs({ shapes }: CircuitShape, nodes: readonly SimulatedNode[]): number {
  const speed = nodes
    .map(({ rates }) => shapes.reduce((ms, shape) => ms + wholeMs(shape, rates), 0))
    .reduce((sum, ms) => sum + 1 / ms, 0);
  return 1 / speed;
}

/** As much faster that it takes no time beside the rest. */
const FREE = 1e6;

/** The same machines, if one of them took no time. */
function without({ nodes, coordinator, server }: Installation, bound: Bound): Installation {
  const faster = (name: Exclude<keyof CoordinatorRates, 'finishMs'>) => ({
    nodes,
    server,
    coordinator: { ...coordinator, [name]: coordinator[name] * FREE },
  });
  if (bound === 'witness') return faster('witnessPerSecond');
  if (bound === 'transform') return faster('transformPerSecond');
  if (bound === 'sealing') return faster('sealBytesPerSecond');
  if (bound === 'server')
    return { nodes, coordinator, server: { ...server, bytesPerSecond: server.bytesPerSecond * FREE } };
  const eased = nodes.map((node) =>
    bound === 'link'
      ? { ...node, bytesPerSecond: node.bytesPerSecond * FREE, roundTripMs: 0 }
      : { ...node, rates: { g1: node.rates.g1 * FREE, g2: node.rates.g2 * FREE } },
  );
  return { nodes: eased, coordinator, server };
}

/** What the proof would take if one part took no time, the one that would help most first. */
export function boundsOf(
  installation: Installation,
  circuit: CircuitShape,
): { readonly bound: Bound; readonly totalMs: number }[] {
  return (Object.keys(BOUNDS) as Bound[])
    .map((bound) => ({ bound, totalMs: forecast(without(installation, bound), circuit).totalMs }))
    .sort((a, b) => a.totalMs - b.totalMs);
}

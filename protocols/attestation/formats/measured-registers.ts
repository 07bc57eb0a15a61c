/**
 * What a CPU measured, by the names that policies use, and whether something that somebody says about software names it:
 * in-toto statements spell the same registers in many ways.
 */
import { fromHex, hex, utf8 } from '../../encoding.ts';
import type { Part } from './format.ts';
import type { Statement } from './sigstore-bundle.ts';

/** Name of a register -> lower-case hex. */
export type MeasuredRegisters = ReadonlyMap<string, string>;

const MAX_NODES = 4096;
const MAX_DEPTH = 16;

/** By platform the registers that statements may name, and how they are spelled, without case, `_` and `-`. */
const SPELLINGS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'sev-snp': {
    measurement: 'measurement',
    launchmeasurement: 'measurement',
    launchdigest: 'measurement',
    snpmeasurement: 'measurement',
    sevsnpmeasurement: 'measurement',
    hostdata: 'hostData',
  },
  tdx: {
    measurement: 'measurement',
    mrtd: 'measurement',
    rtmr0: 'rtmr0',
    rtmr1: 'rtmr1',
    rtmr2: 'rtmr2',
    rtmr3: 'rtmr3',
    mrconfigid: 'mrconfigid',
  },
  sgx: { measurement: 'measurement', mrenclave: 'measurement', mrsigner: 'mrsigner' },
  nitro: Object.fromEntries(Array.from({ length: 16 }, (_, i) => [`pcr${i}`, `pcr${i}`])),
};

/** Every register that its claims name; none where they say nothing that is known here. */
export function registersIn({ cpu, claims }: Part): MeasuredRegisters {
  if (cpu === undefined) return new Map();
  const fields = Object(claims) as Readonly<Record<string, unknown>>;
  const lists = [
    ...Object.entries(fields),
    ...Object.entries(Object(fields.pcrs) as object).map(([i, value]) => [`pcr${i}`, value] as const),
    ...(Array.isArray(fields.rtmrs) ? fields.rtmrs : []).map((value, i) => [`rtmr${i}`, value] as const),
    ['measurement', cpu.measurement] as const,
  ];
  const known = new Set(Object.values(SPELLINGS[cpu.platform] ?? {}));
  const named = lists.filter((entry): entry is [string, string] => known.has(entry[0]) && isDigest(entry[1]));
  return new Map(named);
}

const isDigest = (value: unknown): value is string =>
  typeof value === 'string' && /^(?:[0-9a-f]{64}|[0-9a-f]{96})$/.test(value);

/** A digest as hex of any case, with or without a prefix such as `0x` or `sha384:`. */
function digestOf(value: unknown): string | undefined {
  if (typeof value !== 'string' || value.length > 112) return undefined;
  const digits = value.replace(/^(?:0x|sha-?(?:256|384):)/i, '').toLowerCase();
  return isDigest(digits) ? digits : undefined;
}

/**
 * The registers named by the first object in `json` all of whose registers of the platform are as measured; none when there
 * is no such object.
 */
function namedIn(json: unknown, platform: string, measured: MeasuredRegisters): string[] {
  const spellings = SPELLINGS[platform] ?? {};
  const left: { readonly node: unknown; readonly depth: number }[] = [{ node: json, depth: 0 }];
  for (let seen = 0; left.length > 0 && seen < MAX_NODES; seen++) {
    const { node, depth } = left.shift()!;
    if (typeof node !== 'object' || node === null) continue;
    const entries = Object.entries(node);
    const own = entries.flatMap(([name, value]) => {
      const spelled = name.toLowerCase().replaceAll(/[_-]/g, '');
      const digest = digestOf(value);
      return digest !== undefined && Object.hasOwn(spellings, spelled)
        ? [[spellings[spelled]!, digest] as const]
        : [];
    });
    if (own.length > 0 && own.every(([register, digest]) => measured.get(register) === digest)) {
      return [...new Set(own.map(([register]) => register))];
    }
    if (depth < MAX_DEPTH) {
      for (const [, value] of entries.slice(0, MAX_NODES)) left.push({ node: value, depth: depth + 1 });
    }
  }
  return [];
}

const TINFOIL_CODE = 'https://tinfoil.sh/predicate/snp-tdx-multiplatform/v1';

/** The registers of a CPU's evidence that a statement names as they were measured, in its subject or its predicate. */
export function registersNamed({ subject, predicate, predicateType }: Statement, part: Part): string[] {
  const measured = registersIn(part);
  const platform = part.cpu?.platform ?? '';
  // Tinfoil extends no RTMR3, and leaves out to say so.
  const zeros = /^0+$/.test(measured.get('rtmr3') ?? '0');
  if (predicateType === TINFOIL_CODE && platform === 'tdx' && !zeros) return [];
  const value = measured.get('measurement');
  const digests = subject.map(({ digest }) => digest);
  if (value !== undefined && digests.some((digest) => Object.values(digest).includes(value)))
    return ['measurement'];
  return namedIn([...digests, predicate], platform, measured);
}

/** What somebody may have signed who signed a measurement as a file: its bytes, or its hex, with or without a new line. */
export const asFiles = (value: string): Uint8Array[] => [fromHex(value), utf8(value), utf8(`${value}\n`)];

/** The register of which a file is the value, in one of those forms. */
export const registerIn = (file: Uint8Array, measured: MeasuredRegisters): string | undefined =>
  [...measured].find(([, value]) => asFiles(value).some((one) => hex(one) === hex(file)))?.[0];

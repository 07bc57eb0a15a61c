/**
 * The confidential computing event log (CCEL) of a TD and its replay: TCG PC Client Platform Firmware Profile,
 * section 10 (crypto agile log), with measurement registers numbered as in the UEFI specification, section 38.4
 * (0 = MRTD, 1 to 4 = RTMR0 to RTMR3). The log itself is unsigned: what makes it evidence is that its digests
 * replay to the registers of a verified quote, and what makes its texts evidence is that they hash to its
 * digests. Events whose digest covers something that lies outside the log stay opaque: their descriptions prove
 * nothing.
 *
 * More forms: what dstack makes of such a log, a JSON array (eventlog-json.ts), and events of Confidential Containers'
 * attestation agent (AAEL), which stand in the log as tagged events after those of the firmware, or in a text of their
 * own beside it (eventlog-aael.ts).
 */
import { sha384 } from '@noble/hashes/sha2.js';
import { concat, equal, hex } from '../../encoding.ts';
import { VouchError } from '../../errors.ts';
import { printable } from '../../printable.ts';
import type { Recorder } from '../checklist.ts';
import { MAX_EVENT_LOG_BYTES } from '../limits.ts';
import { createReader, type Reader } from '../reader.ts';
import { isAgentLog, parseAgentLog } from './eventlog-aael.ts';
import { type LoggedEvent, parseJsonLog } from './eventlog-json.ts';
import { isZero, type TdReport } from './intel-quote.ts';

const MAX_EVENTS = 16_384;
const MAX_ALGORITHMS = 8;
const REGISTERS = 4;
const SHA384 = 0x0c;
const SHA384_BYTES = 48;
const SPEC_ID = 'Spec ID Event03\0';

const EVENT = {
  separator: 0x4,
  noAction: 0x3,
  action: 0x5,
  crtmVersion: 0x8,
  tag: 0x6,
  ipl: 0xd,
  variableDriverConfig: 0x80000001,
  variableBoot: 0x80000002,
  gpt: 0x80000006,
  efiAction: 0x80000007,
  variableBoot2: 0x8000000c,
  gpt2: 0x8000000d,
  variableAuthority: 0x800000e0,
} as const;
/** Events whose digest is that of their payload. */
const OF_PAYLOAD: readonly number[] = [
  EVENT.separator,
  EVENT.action,
  EVENT.crtmVersion,
  EVENT.variableDriverConfig,
  EVENT.gpt,
  EVENT.efiAction,
  EVENT.variableBoot2,
  EVENT.gpt2,
  EVENT.variableAuthority,
];
/** What GRUB puts in front of the text that it measures. */
const GRUB_PREFIXES = ['grub_cmd: ', 'kernel_cmdline: ', 'module_cmdline: '];

/** Throws `bad-file` or `too-large` for a log that is not well-formed. */
export function parseEventLog(bytes: Uint8Array): LoggedEvent[] {
  if (bytes.length > MAX_EVENT_LOG_BYTES) {
    throw new VouchError(
      'too-large',
      `event log: expected at most ${MAX_EVENT_LOG_BYTES} bytes, got ${bytes.length}`,
    );
  }
  if (isAgentLog(bytes)) return parseAgentLog(bytes);
  if (!looksLikeEventLog(bytes)) return parseJsonLog(bytes);
  const log = createReader(bytes, 'event log');
  const sizes = readHeader(log);
  const events: LoggedEvent[] = [];
  while (log.left() > 0) {
    const start = log.at();
    const register = log.left() >= 4 ? log.uint(4) : 0xffffffff;
    const rest = bytes.subarray(start);
    // The firmware's buffer is filled up with ones or zeros; register 0 with type 0 is no event.
    if (register === 0xffffffff || isZero(rest)) {
      if (!rest.every((byte) => byte === rest[0])) throw malformed('expected nothing after its last event');
      break;
    }
    if (register > REGISTERS) throw malformed(`expected registers 0 to ${REGISTERS}, got ${register}`);
    if (events.length === MAX_EVENTS) throw malformed(`expected at most ${MAX_EVENTS} events`);
    const type = log.uint(4);
    const digest = readDigests(log, sizes);
    const payload = log.take(log.uint(4));
    events.push({ rtmr: register === 0 ? undefined : register - 1, type, digest, payload });
  }
  return events;
}

const malformed = (text: string): VouchError => new VouchError('bad-file', `event log: ${text}`);

/** Whether `bytes` begin like a crypto agile log; says nothing about the rest. */
export const looksLikeEventLog = (bytes: Uint8Array): boolean =>
  bytes.length > 48 && String.fromCharCode(...bytes.subarray(32, 48)) === SPEC_ID;

/** The Specification ID event: algorithm -> digest size. */
function readHeader(log: Reader): ReadonlyMap<number, number> {
  log.uint(4);
  if (log.uint(4) !== EVENT.noAction) throw malformed('expected a Specification ID event at its start');
  log.zeros(20);
  const header = createReader(log.take(log.uint(4)), 'event log header');
  if (String.fromCharCode(...header.take(16)) !== SPEC_ID) throw malformed('expected Spec ID Event03');
  header.take(8);
  const count = header.uint(4);
  if (count < 1 || count > MAX_ALGORITHMS) throw malformed(`expected 1 to ${MAX_ALGORITHMS} algorithms`);
  const sizes = new Map<number, number>();
  for (let i = 0; i < count; i++) sizes.set(header.uint(2), header.uint(2));
  header.take(header.uint(1));
  header.end();
  if (sizes.get(SHA384) !== SHA384_BYTES) throw malformed('expected SHA-384, which RTMRs are made of');
  return sizes;
}

function readDigests(log: Reader, sizes: ReadonlyMap<number, number>): Uint8Array {
  const count = log.uint(4);
  if (count > sizes.size) throw malformed(`expected at most ${sizes.size} digests, got ${count}`);
  let found: Uint8Array | undefined;
  for (let i = 0; i < count; i++) {
    const algorithm = log.uint(2);
    const size = sizes.get(algorithm);
    if (size === undefined) throw malformed(`algorithm 0x${algorithm.toString(16)} was not announced`);
    const digest = log.take(size);
    if (algorithm === SHA384) found = digest;
  }
  if (found === undefined) throw malformed('expected a SHA-384 digest in every event');
  return found;
}

/** RTMR0 to RTMR3 after all events, 48 bytes each. */
export function replay(events: readonly LoggedEvent[]): Uint8Array[] {
  const registers = Array.from({ length: REGISTERS }, () => new Uint8Array(SHA384_BYTES));
  for (const { rtmr, type, digest, initial } of events) {
    if (rtmr === undefined || type === EVENT.noAction) continue;
    // What a log says of a register's past counts where no other log has said more: else it could hide events of theirs.
    if (initial !== undefined && isZero(registers[rtmr]!)) registers[rtmr] = Uint8Array.from(initial);
    registers[rtmr] = new Uint8Array(sha384(concat(registers[rtmr]!, digest)));
  }
  return registers;
}

/**
 * `payload`: the digest is that of the payload. `differs`: it should be, and is not. `opaque`: it covers what is
 * not in the log.
 */
export function judgeEvent({
  type,
  digest,
  payload,
  expected,
}: LoggedEvent): 'payload' | 'differs' | 'opaque' {
  if (expected !== undefined) return expected.some((one) => equal(one, digest)) ? 'payload' : 'differs';
  if (payload === undefined) return 'opaque';
  const hashes = (part: Uint8Array | undefined) => part !== undefined && equal(sha384(part), digest);
  if (OF_PAYLOAD.includes(type)) return hashes(payload) ? 'payload' : 'differs';
  // The variable's value alone; some firmware hashes the whole structure.
  if (type === EVENT.variableBoot) {
    return hashes(variableValue(payload)) || hashes(payload) ? 'payload' : 'differs';
  }
  const tagged = type === EVENT.tag ? taggedData(payload) : undefined;
  if (tagged !== undefined && (hashes(payload) || hashes(tagged.data))) return 'payload';
  if (type === EVENT.tag) return tagged?.id === AAEL ? 'differs' : 'opaque';
  if (type !== EVENT.ipl) return 'opaque';
  // Boot loaders measure either the text they log, or a file that they name.
  const text = grubText(payload);
  if (text !== undefined) return hashes(text) ? 'payload' : 'differs';
  return hashes(payload) ? 'payload' : 'opaque';
}

/** UEFI_VARIABLE_DATA: 16-byte GUID, u64 characters of the name, u64 bytes of the value, name, value. */
function variableValue(payload: Uint8Array): Uint8Array | undefined {
  if (payload.length < 32) return undefined;
  const variable = createReader(payload, 'variable');
  variable.take(16);
  const name = variable.uint64() * 2n;
  const size = variable.uint64();
  if (BigInt(variable.left()) !== name + size) return undefined;
  variable.take(Number(name));
  return variable.take(Number(size));
}

/** "AAEL" (github.com/confidential-containers/guest-components, attestation agent's event log). */
const AAEL = 0x4141454c;

/** TCG_PCClientTaggedEvent: u32 id, u32 bytes of data, data. */
function taggedData(payload: Uint8Array): { id: number; data: Uint8Array } | undefined {
  if (payload.length < 8) return undefined;
  const event = createReader(payload, 'tagged event');
  const id = event.uint(4);
  return event.uint(4) === event.left() ? { id, data: event.take(event.left()) } : undefined;
}

function grubText(payload: Uint8Array): Uint8Array | undefined {
  if (payload.at(-1) !== 0) return undefined;
  const start = String.fromCharCode(...payload.subarray(0, 32));
  const prefix = GRUB_PREFIXES.find((candidate) => start.startsWith(candidate));
  return prefix === undefined ? undefined : payload.subarray(prefix.length, -1);
}

export const EVENT_LOG_CHECKS = ['tdx.event-log', 'tdx.event-digests', 'tdx.rtmr-replay'] as const;

/** A TD's logs, those of the boot first. */
const inOrder = (logs: readonly Uint8Array[]): Uint8Array[] =>
  logs.toSorted((a, b) => Number(isAgentLog(a)) - Number(isAgentLog(b)));

/** Whether logs may be of one TD: one of the boot, and one of the attestation agent in a text of its own. */
export const areOfOneTd = (logs: readonly Uint8Array[]): boolean => {
  const agent = logs.filter(isAgentLog).length;
  return agent <= 1 && logs.length - agent <= 1;
};

/** The events of all logs of a TD. Throws `bad-file` or `too-large`. */
export const eventsOf = (logs: readonly Uint8Array[]): LoggedEvent[] =>
  inOrder(logs).flatMap((log) => parseEventLog(log));

/** Checks a TD's logs against the registers of its quote. */
export function checkEventLog(logs: readonly Uint8Array[], { rtmrs }: TdReport, record: Recorder): void {
  let events: LoggedEvent[];
  try {
    events = eventsOf(logs);
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    record('tdx.event-log', false, 'evidence-rejected', error.message);
    return;
  }
  record(
    'tdx.event-log',
    true,
    'evidence-rejected',
    [`${events.length} events`, ...named(events)].join(', '),
  );
  const judged = events.filter(({ type }) => type !== EVENT.noAction).map(judgeEvent);
  const count = (kind: string) => judged.filter((one) => one === kind).length;
  record(
    'tdx.event-digests',
    count('differs') === 0,
    'evidence-rejected',
    count('differs') === 0
      ? `${count('payload')} recomputed from payloads, ${count('opaque')} cover what is not in the log`
      : `event ${judged.indexOf('differs') + 1}: the digest is not that of its payload`,
  );
  const replayed = replay(events);
  const silent = logs.some(looksLikeEventLog) ? [] : leftOut(events);
  const wrong = replayed.flatMap((register, i) =>
    silent.includes(i) || equal(register, rtmrs[i]!) ? [] : [i],
  );
  const covered = replayed.flatMap((_, i) => (silent.includes(i) ? [] : [`RTMR${i}`]));
  record(
    'tdx.rtmr-replay',
    wrong.length === 0,
    'evidence-rejected',
    wrong.length === 0
      ? silent.length === 0
        ? 'RTMR0 to RTMR3 are as the log says'
        : `${covered.join(', ')} as the log says, which leaves the others out`
      : wrong.map((i) => `RTMR${i} is ${hex(rtmrs[i]!)}, the log says ${hex(replayed[i]!)}`).join('; '),
  );
}

/**
 * Registers of the boot that dstack leaves out of its log, whole or but for digests of ACPI tables. Never RTMR3: the
 * log is there to say what it holds.
 */
const leftOut = (events: readonly LoggedEvent[]): number[] =>
  [0, 1, 2].filter((i) => events.every(({ rtmr, name }) => rtmr !== i || name?.startsWith('acpi-') === true));

/** What runtime events say, in the order in which they came; as good as the replay. */
const named = (events: readonly LoggedEvent[]): string[] =>
  events
    .flatMap(({ name, payload }) =>
      name === undefined || payload === undefined || payload.length > 48
        ? []
        : [`${printable(name).slice(0, 64)} ${hex(payload)}`.trim()],
    )
    .slice(0, 16);

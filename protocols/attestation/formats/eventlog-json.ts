/**
 * dstack's event log (github.com/Dstack-TEE/dstack, cc-eventlog): a JSON array of {imr, event_type, digest, event,
 * event_payload}, with registers counted from 0 (RTMR0). It leaves out payloads of boot events and digests of runtime
 * events, which follow from what is there: SHA-384(type || ":" || name || ":" || payload), or of the same as canonical
 * JSON in version 2. Like every log it is unsigned: the replay makes it evidence.
 */
import { sha384 } from '@noble/hashes/sha2.js';
import { canonicalJson, concat, hex, utf8 } from '../../encoding.ts';
import { VouchError } from '../../errors.ts';
import { hexBytes } from '../text-bytes.ts';

/** An event of a log in any form. */
export interface LoggedEvent {
  /** 0 to 3 = RTMR; undefined = MRTD, which a replay cannot reach */
  readonly rtmr: number | undefined;
  readonly type: number;
  readonly digest: Uint8Array;
  /** absent where the log left it out */
  readonly payload?: Uint8Array | undefined;
  /** of runtime events, whose digest covers name and payload */
  readonly name?: string | undefined;
  /** what the register held before, where the log says so */
  readonly initial?: Uint8Array | undefined;
  /** what the digest has to be, where it covers more than the payload */
  readonly expected?: readonly Uint8Array[] | undefined;
}

const MAX_EVENTS = 16_384;
const MAX_REGISTER = 3;
const RUNTIME_EVENT = 0x08000001;
const SHA384_BYTES = 48;

/** Whether JSON has the form of such a log. */
export function isJsonLog(json: unknown): boolean {
  const [first] = Array.isArray(json) ? (json as unknown[]) : [];
  return ['imr', 'event_type', 'digest'].every((name) => Object.hasOwn(Object(first) as object, name));
}

/** Throws `bad-file`. */
export function parseJsonLog(bytes: Uint8Array): LoggedEvent[] {
  const refuse = (reason: string): never => {
    throw new VouchError('bad-file', `event log: ${reason}`);
  };
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return refuse('expected Spec ID Event03 or JSON');
  }
  if (!isJsonLog(json)) return refuse('expected a list of {imr, event_type, digest}');
  const list = json as unknown[];
  if (list.length > MAX_EVENTS) return refuse(`expected at most ${MAX_EVENTS} events`);
  return list.map((entry, i) => {
    const {
      imr,
      event_type: type,
      digest,
      event,
      event_payload: payload,
      version,
    } = Object(entry) as Record<string, unknown>;
    const number = (value: unknown, most: number): value is number =>
      typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= most;
    if (!number(imr, MAX_REGISTER)) return refuse(`event ${i + 1}: expected registers 0 to ${MAX_REGISTER}`);
    if (!number(type, 0xffffffff)) return refuse(`event ${i + 1}: expected a type`);
    const bytesOf = (value: unknown, name: string): Uint8Array => {
      if (value === '' || value === undefined || value === null) return new Uint8Array(0);
      const read = typeof value === 'string' ? hexBytes(value) : undefined;
      return read ?? refuse(`event ${i + 1}: ${name}: expected hex`);
    };
    const stated = bytesOf(digest, 'digest');
    const content = bytesOf(payload, 'event_payload');
    if (type !== RUNTIME_EVENT) {
      if (stated.length !== SHA384_BYTES) return refuse(`event ${i + 1}: expected a SHA-384 digest`);
      // dstack names the events of ACPI tables, and puts a marker where their payload was.
      if (typeof event === 'string' && /^acpi-[a-z]{1,16}$/.test(event)) {
        return { rtmr: imr, type, digest: stated, name: event };
      }
      return { rtmr: imr, type, digest: stated, ...(content.length === 0 ? {} : { payload: content }) };
    }
    if (typeof event !== 'string') return refuse(`event ${i + 1}: expected a name`);
    const expected = digestsOf(event, content, version);
    if (stated.length !== 0 && stated.length !== SHA384_BYTES) {
      return refuse(`event ${i + 1}: expected a SHA-384 digest`);
    }
    return {
      rtmr: imr,
      type,
      digest: stated.length === 0 ? expected[0]! : stated,
      payload: content,
      name: event,
      expected,
    };
  });
}

/** By the version that the event states, else by either, the older first. */
function digestsOf(name: string, payload: Uint8Array, version: unknown): Uint8Array[] {
  const type = Uint8Array.of(1, 0, 0, 8);
  const first = () => sha384(concat(type, utf8(':'), utf8(name), utf8(':'), payload));
  const second = () => {
    if (!name.isWellFormed()) throw new VouchError('bad-file', 'event log: expected well-formed names');
    return sha384(utf8(canonicalJson({ name, type: RUNTIME_EVENT, payload: hex(payload) })));
  };
  const text = String(version ?? '').toLowerCase();
  if (text === '2' || text === 'v2') return [second()];
  return text === '' ? [first(), second()] : [first()];
}

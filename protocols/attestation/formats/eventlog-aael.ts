/**
 * The older form of the log that Confidential Containers' attestation agent keeps (AAEL as plain text: trustee,
 * kbs/docs/confidential-containers-eventlog.md, and guest-components before it wrote tagged events): one line
 * `INIT sha384/<register>` with what the register held before, then a line `<domain> <operation> <content>` an event. Every
 * line extends RTMR3 by its SHA-384, the first one too.
 */
import { sha384 } from '@noble/hashes/sha2.js';
import { fromHex } from '../../encoding.ts';
import { VouchError } from '../../errors.ts';
import type { LoggedEvent } from './eventlog-json.ts';

const MAX_LINES = 16_384;
/** PCR 17, by the agent's own table of registers. */
const RTMR = 3;
const AGENT_EVENT = 0x6;
/** Written either way, with a space or a slash first. */
const INIT = /^INIT[ /](sha256|sha384|sha512)[/ ]([0-9a-f]+)$/;

/** Whether bytes begin like such a log. */
export const isAgentLog = (bytes: Uint8Array): boolean =>
  /^INIT[ /]sha(?:256|384|512)[/ ][0-9a-f]/.test(String.fromCharCode(...bytes.subarray(0, 16)));

/** Throws `bad-file`. */
export function parseAgentLog(bytes: Uint8Array): LoggedEvent[] {
  const refuse = (reason: string): never => {
    throw new VouchError('bad-file', `event log of the attestation agent: ${reason}`);
  };
  const [first = '', ...lines] = new TextDecoder('latin1').decode(bytes).replace(/\n$/, '').split('\n');
  const [, hash, value = ''] = INIT.exec(first.trimEnd()) ?? refuse('expected INIT <hash>/<register>');
  if (hash !== 'sha384') refuse(`expected SHA-384, which RTMRs are made of, got ${hash}`);
  // Some wrote too many zeros.
  const digits = /^0{96,128}$/.test(value) ? '0'.repeat(96) : value;
  if (digits.length !== 96) refuse('expected 48 bytes of the register');
  if (lines.length > MAX_LINES) refuse(`expected at most ${MAX_LINES} events`);
  const event = (line: string): LoggedEvent => {
    const raw = Uint8Array.from(line, (letter) => letter.charCodeAt(0));
    const digest = sha384(raw);
    return {
      rtmr: RTMR,
      type: AGENT_EVENT,
      digest,
      payload: new Uint8Array(0),
      expected: [digest],
      name: line,
    };
  };
  const start = { ...event(first.trimEnd()), initial: fromHex(digits) };
  return [
    start,
    ...lines.map((line, i) => {
      const text = line.trimEnd();
      return /^\S+ \S+ \S/.test(text)
        ? event(text)
        : refuse(`line ${i + 2}: expected domain, operation and content`);
    }),
  ];
}

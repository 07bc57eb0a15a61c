/**
 * What the readers of services' JSON share (evidence-json.ts): fields as bytes, evidence by its outer form, and contents
 * that belong to one machine. Whatever is asked for has to be there and to be what it is said to be.
 */
import { utf8 } from '../encoding.ts';
import { VouchError } from '../errors.ts';
import type { BoundFacts, FactValues } from './binding-recipes.ts';
import { parseCertificate, readPem } from './certificate.ts';
import type { Contents } from './file-kinds.ts';
import { isAgentLog } from './formats/eventlog-aael.ts';
import type { Evidence, Format } from './formats/format.ts';
import { mergeCollateral } from './formats/intel-collateral.ts';
import { FORMATS } from './formats/registry.ts';
import { MAX_EVENT_LOG_BYTES, MAX_EVIDENCE_BYTES } from './limits.ts';
import { bytesOfJson, bytesOfText } from './text-bytes.ts';

export type Fields = Readonly<Record<string, unknown>>;

export const fieldsOf = (value: unknown): Fields | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;
export const refuse = (what: string, reason: string): never => {
  throw new VouchError('bad-file', `${what}: ${reason}`);
};
export const isAbsent = (value: unknown): boolean => value === undefined || value === null || value === '';

/** The bytes of a field that has to be there. */
export function bytesIn(fields: Fields, name: string, what: string, most = MAX_EVIDENCE_BYTES): Uint8Array {
  const bytes = bytesOfJson(fields[name], most);
  if (bytes === undefined || bytes.length > most) {
    return refuse(what, `${name}: expected up to ${most} bytes as hex, base64 or a list of numbers`);
  }
  return bytes;
}
export const optionalBytes = (fields: Fields, name: string, what: string): Uint8Array | undefined =>
  isAbsent(fields[name]) ? undefined : bytesIn(fields, name, what);

/** JSON that came as text inside of JSON, or as it stands. */
export function nested(value: unknown, what: string): unknown {
  if (typeof value !== 'string') return value;
  try {
    return JSON.parse(value) as unknown;
  } catch {
    return refuse(what, 'expected JSON inside of a text');
  }
}

/** What one CPU or a machine's TPM signed, by its own outer form. */
export function cpuEvidence(bytes: Uint8Array, what: string): Evidence {
  const found = Object.entries<Format>(FORMATS).find(
    ([, { signedBy, recognise }]) => (signedBy === 'cpu' || signedBy === 'tpm') && recognise(bytes),
  );
  if (found?.[1].notInFiles !== undefined) return refuse(what, found[1].notInFiles);
  const format =
    found?.[0] ?? refuse(what, 'expected a quote, an SNP report or a Nitro document, got other bytes');
  return { format, bytes };
}

/** PEM or DER, as text or bytes, one or several. */
export function certificatesIn(value: unknown, what: string): Contents {
  const text = typeof value === 'string' ? value : '';
  const ders = text.includes('-----BEGIN')
    ? readPem(text, 'CERTIFICATE', what)
    : [bytesOfJson(value, MAX_EVIDENCE_BYTES) ?? refuse(what, 'expected certificates as PEM or DER')];
  if (ders.length === 0) return refuse(what, 'expected certificates');
  return { certificates: ders.map((der) => parseCertificate(der, what)) };
}

/** Several contents as one. */
export function joined(parts: readonly Contents[]): Contents {
  const lists = new Map<string, unknown[]>();
  let facts: BoundFacts | undefined;
  for (const { facts: own, intel, ...part } of parts) {
    facts ??= own;
    for (const [name, list] of Object.entries(part)) {
      lists.set(name, [...(lists.get(name) ?? []), ...((list as unknown[]) ?? [])]);
    }
  }
  const intel = parts.flatMap((part) => part.intel ?? []);
  return {
    ...(Object.fromEntries(lists) as Contents),
    ...(intel.length === 0 ? {} : { intel: mergeCollateral(...intel) }),
    ...(facts === undefined ? {} : { facts }),
  };
}

export const machine = (...parts: readonly Contents[]): Contents => ({ machines: [joined(parts)] });

/** An event log in any of its forms; nothing where the field is absent. */
export function eventLogIn(value: unknown, what: string): Contents {
  if (isAbsent(value) || (Array.isArray(value) && value.length === 0)) return {};
  if (typeof value === 'string' && !/^\s*\[/.test(value)) {
    const plain = utf8(value);
    const log = isAgentLog(plain) ? plain : bytesOfText(value);
    if (log === undefined || log.length > MAX_EVENT_LOG_BYTES) return refuse(what, 'expected an event log');
    return { eventLogs: [log] };
  }
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text === '[]' ? {} : { eventLogs: [utf8(text)] };
}

export const facts = (recipe: BoundFacts['recipe'], values: FactValues): Contents => ({
  facts: { recipe, values },
});

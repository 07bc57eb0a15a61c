/**
 * A reader of Protocol Buffers' wire format (protobuf.dev, "Encoding"), as far as signed statements need it: numbers and
 * byte strings by field number. It descends only where it is asked to, and its values are views of the input.
 *
 * Fields that are not asked for mean nothing here, as the format wants it; groups, which no message of today has, are
 * refused.
 */
import { VouchError } from '../errors.ts';

const MAX_FIELDS = 4096;
const WIRE = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

/** What a message says, in order, by field number. */
export interface Message {
  /** of a field that may come once; 0 where it does not come, as the format has it */
  readonly number: (field: number) => bigint;
  /** of a field that may come once */
  readonly bytes: (field: number) => Uint8Array | undefined;
  readonly all: (field: number) => readonly Uint8Array[];
  readonly fields: readonly number[];
}

/** Throws `bad-file`; so do the functions of what it returns, for a field of the other kind or one that comes twice. */
export function readMessage(bytes: Uint8Array, what: string): Message {
  const refuse = (reason: string): never => {
    throw new VouchError('bad-file', `${what}: ${reason}`);
  };
  let at = 0;
  const take = (length: number): Uint8Array => {
    if (length > bytes.length - at) refuse(`expected ${length} bytes at ${at}, got ${bytes.length - at}`);
    at += length;
    return bytes.subarray(at - length, at);
  };
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const [byte] = take(1);
      value |= BigInt(byte! & 0x7f) << shift;
      if (byte! < 0x80) return value < 1n << 64n ? value : refuse('expected numbers of 64 bits');
    }
    return refuse('expected numbers of 64 bits');
  };
  const found: { readonly field: number; readonly value: bigint | Uint8Array }[] = [];
  while (at < bytes.length) {
    if (found.length === MAX_FIELDS) refuse(`expected at most ${MAX_FIELDS} fields`);
    const key = varint();
    const field = key >> 3n;
    if (field === 0n || field > 0x1fff_ffffn) refuse('expected field numbers from 1 on');
    const wire = Number(key & 7n);
    if (wire === WIRE.varint) found.push({ field: Number(field), value: varint() });
    else if (wire === WIRE.bytes) {
      const length = varint();
      if (length > BigInt(bytes.length)) refuse('expected fields that lie inside of it');
      found.push({ field: Number(field), value: take(Number(length)) });
    } else if (wire === WIRE.fixed64 || wire === WIRE.fixed32) take(wire === WIRE.fixed64 ? 8 : 4);
    else refuse(`wire type ${wire} is not known`);
  }
  const values = (field: number) => found.filter((one) => one.field === field).map(({ value }) => value);
  // Readers of the format take the last of several, so that two of them could see different ones.
  const once = (field: number): bigint | Uint8Array | undefined => {
    const [value, ...others] = values(field);
    return others.length > 0 ? refuse(`field ${field}: expected it once`) : value;
  };
  const isBytes = (value: bigint | Uint8Array, field: number): Uint8Array =>
    typeof value === 'bigint' ? refuse(`field ${field}: expected bytes`) : value;
  return {
    number: (field) => {
      const value = once(field) ?? 0n;
      return typeof value === 'bigint' ? value : refuse(`field ${field}: expected a number`);
    },
    bytes: (field) => {
      const value = once(field);
      return value === undefined ? undefined : isBytes(value, field);
    },
    all: (field) => values(field).map((value) => isBytes(value, field)),
    fields: found.map(({ field }) => field),
  };
}

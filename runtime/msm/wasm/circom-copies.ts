/**
 * Copies of constants in circom's functions, joined. A table such as Poseidon's is put into a function's variables element by
 * element, at every call, which is most of the code of many modules and half of their time:
 *
 *   i32.const k  i32.const 40  i32.mul  local.get v  i32.add  i32.const from  call Fr_copy
 *
 * Where both places go on from copy to copy, one `memory.copy` moves the same bytes. Constants are never where variables are.
 */

const [LOCAL_GET, CONST, CALL, MULTIPLY, ADD] = [0x20, 0x41, 0x10, 0x6c, 0x6a] as const;
const MEMORY_COPY = [0xfc, 10, 0, 0] as const;
const ELEMENT_BYTES = 40;
/** Fewer elements than this a call of the engine's copying costs. */
const LEAST = 4;

interface Copy {
  readonly to: number;
  readonly variable: number;
  readonly from: number;
}

/** A function's locals and instructions with its copies joined; the same where there are none, or an instruction is not known. */
export function joinCopies(body: Uint8Array, copyFunction: number): Uint8Array {
  let at = 0;
  /** LEB128 of at most 64 bits, of which 32 count. */
  const number = (isSigned: boolean): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      // Behind the end all is zero: the function is left as it is then.
      const byte = body[at++] ?? 0;
      if (shift < 32) value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return isSigned && shift < 25 && byte & 0x40 ? value | (-1 << (shift + 7)) : value;
    }
  };
  /** The copy that begins here, behind it then; undefined, and still here, where there is none. */
  function copyHere(): Copy | undefined {
    const begin = at;
    const constant = () => (body[at++] === CONST ? number(true) : undefined);
    const index = constant();
    if (index !== undefined && constant() === ELEMENT_BYTES && body[at++] === MULTIPLY) {
      const variable = body[at++] === LOCAL_GET ? number(false) : undefined;
      const isSum = variable !== undefined && body[at++] === ADD;
      const from = isSum ? constant() : undefined;
      if (from !== undefined && body[at++] === CALL && number(false) === copyFunction)
        return { to: Math.imul(index, ELEMENT_BYTES), variable: variable!, from };
    }
    at = begin;
    return undefined;
  }

  const parts: Uint8Array[] = [];
  let done = 0;
  for (let groups = number(false); groups > 0 && at < body.byteLength; groups--) {
    number(false);
    at++;
  }
  while (at < body.byteLength) {
    if (body[at] === CONST) {
      const begin = at;
      const first = copyHere();
      let count = first ? 1 : 0;
      for (let behind = at; first && at < body.byteLength; behind = at) {
        const next = copyHere();
        const goesOn =
          next?.variable === first.variable &&
          next.to === first.to + count * ELEMENT_BYTES &&
          next.from === first.from + count * ELEMENT_BYTES;
        if (!goesOn) {
          at = behind;
          break;
        }
        count++;
      }
      if (first && count >= LEAST) {
        parts.push(body.subarray(done, begin), joined(first, count));
        done = at;
      }
      if (first) continue;
    }
    if (!skip()) return body;
  }
  if (parts.length === 0 || at !== body.byteLength) return body;
  parts.push(body.subarray(done));
  const all = new Uint8Array(parts.reduce((sum, { byteLength }) => sum + byteLength, 0));
  let to = 0;
  for (const part of parts) {
    all.set(part, to);
    to += part.byteLength;
  }
  return all;

  /** Goes behind one instruction; false where it is none of those that circom uses. */
  function skip(): boolean {
    const numbers = NUMBERS[body[at++]!]!;
    for (let count = numbers; count > 0; count--) while (body[at++]! >= 0x80);
    return numbers !== UNKNOWN;
  }
}

/** How many numbers stand behind an instruction. */
const UNKNOWN = 3;
const NUMBERS = new Uint8Array(256).fill(UNKNOWN);
// unreachable, nop, else, end, return, drop, select; all arithmetic
for (const code of [0x00, 0x01, 0x05, 0x0b, 0x0f, 0x1a, 0x1b]) NUMBERS[code] = 0;
NUMBERS.fill(0, 0x45, 0xc5);
// blocks, branches, calls, variables, constants
for (const code of [0x02, 0x03, 0x04, 0x0c, 0x0d, CALL, CONST, 0x42]) NUMBERS[code] = 1;
NUMBERS.fill(1, 0x20, 0x25);
// loads and stores
NUMBERS.fill(2, 0x28, 0x3f);

function joined({ to, variable, from }: Copy, count: number): Uint8Array {
  return Uint8Array.from([
    ...[CONST, ...signed(to), LOCAL_GET, ...unsigned(variable), ADD],
    ...[CONST, ...signed(from), CONST, ...signed(count * ELEMENT_BYTES), ...MEMORY_COPY],
  ]);
}

function unsigned(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)];
}
function signed(value: number): number[] {
  const [low, rest] = [value & 0x7f, value >> 7];
  const isLast = (rest === 0 && low < 0x40) || (rest === -1 && low >= 0x40);
  return isLast ? [low] : [low | 0x80, ...signed(rest)];
}

/** JSON that a person named, as snarkjs reads and writes it. */
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { readText, writeWhole } from '../home/files.ts';

/** A verification key has about 190 bytes for each public signal, an input about 80 for each value. */
const MAX_JSON_BYTES = 1024 ** 3;

/** One space a level, an empty array on two lines, no line end at the end. */
export async function writeJson(path: string, value: object): Promise<void> {
  const text = Array.isArray(value) && value.length === 0 ? '[\n]' : JSON.stringify(value, null, 1);
  await writeWhole(path, text, { mode: 0o644 });
}

export function readJson(path: string, what: string): unknown {
  const text = readText(path, what, MAX_JSON_BYTES);
  try {
    return JSON.parse(text);
  } catch (error) {
    // Its words would quote the file, which may be a witness's input.
    throw new VouchError(
      'bad-file',
      `${what} ${path}: expected JSON, got a file that is truncated or damaged`,
      {
        cause: messageOf(error),
      },
    );
  }
}

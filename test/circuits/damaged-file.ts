/** Files of iden3's formats with something wrong in them, and what has to be thrown for them. */
import { readBinFile, writeBinFile } from '../../circuits/groth16/binfile.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert } from '../harness.ts';

/** Fails unless `run` throws `bad-file` with one sentence that matches. */
export function refuses(run: () => unknown, pattern: RegExp): void {
  let error: unknown;
  try {
    run();
  } catch (thrown) {
    error = thrown;
  }
  isRefusal(error, pattern);
}
export function isRefusal(error: unknown, pattern: RegExp): void {
  assert.instance(error, VouchError, `expected an error that matches ${pattern}, got ${error}`);
  const { code, message } = error as VouchError;
  assert.is(code, 'bad-file');
  assert.match(message, pattern);
  assert.not.match(message, /\n/);
}
export const failureOf = (work: Promise<unknown>) =>
  work.then(
    () => 'no error',
    (error) => error,
  );

export const patched = (file: Uint8Array, offset: number, bytes: ArrayLike<number>) => {
  const copy = file.slice();
  copy.set(bytes, offset);
  return copy;
};
/** Offset of a section's bytes in a file. */
export const at = (file: Uint8Array, type: string, section: number) =>
  readBinFile(file, type, 2).range(section).offset;
/** The file with one section replaced. */
export function withSection(
  file: Uint8Array,
  type: string,
  version: number,
  id: number,
  bytes: Uint8Array,
): Uint8Array {
  const sections = readBinFile(file, type, version);
  const ids = Array.from({ length: 20 }, (_, index) => index).filter(sections.has);
  return writeBinFile(
    type,
    version,
    ids.map((each) => [each, each === id ? bytes : sections.section(each)] as const),
  );
}

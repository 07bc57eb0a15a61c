/**
 * Values of a TPM's platform configuration registers (PCRs): reads the texts that list them, and finds those that a quote
 * covers. Which of them a policy accepts is judgement/tpm.ts's matter.
 */
import { sha256, sha384, sha512 } from '@noble/hashes/sha2.js';
import { concat, fromHex } from '../../encoding.ts';
import { VouchError } from '../../errors.ts';
import { PCR_BANKS, type PcrBank } from '../demands.ts';
import { MAX_PCR_TEXT } from '../limits.ts';
import { sm3 } from '../sm2.ts';
import type { TpmAttest } from './tpm-attest.ts';

export const BANK_BYTES: Readonly<Record<PcrBank, number>> = {
  sha256: 32,
  sha384: 48,
  sha512: 64,
  sm3_256: 32,
};
const BANK_HASH: Readonly<Record<PcrBank, (bytes: Uint8Array) => Uint8Array>> = {
  sha256,
  sha384,
  sha512,
  sm3_256: sm3,
};

/** PCR values by bank and index. */
export type PcrValues = ReadonlyMap<PcrBank, ReadonlyMap<number, Uint8Array>>;

/** Whether a text lists PCRs, as `tpm2_pcrread` prints them or as JSON. */
export const isPcrText = (text: string): boolean =>
  /^\s*\{?\s*"?(?:sha1|sha256|sha384|sha512|sm3_256)"?\s*:/.test(text);

/**
 * What `tpm2_pcrread` prints (`sha256:` and lines `0 : 0x...`), or JSON {bank: {index: hex}}. Banks that are not taken
 * are left out; throws `bad-file`.
 */
export function parsePcrs(text: string): PcrValues {
  const refuse = (reason: string): never => {
    throw new VouchError('bad-file', `PCR values: ${reason}`);
  };
  if (text.length > MAX_PCR_TEXT) refuse(`expected at most ${MAX_PCR_TEXT} characters, got ${text.length}`);
  const banks = new Map<PcrBank, Map<number, Uint8Array>>();
  let values: Map<number, Uint8Array> | undefined;
  let bytes = 0;
  const names: readonly string[] = PCR_BANKS;
  // One grammar for both: braces, quotes and commas of the JSON say nothing that the order does not.
  for (const line of text.split(/[\n,{}]/)) {
    const clean = line.replaceAll(/["\r\t ]/g, '');
    if (clean === '') continue;
    const [, name, value = ''] =
      /^([a-z0-9_]{1,8}):(?:0x)?([0-9A-Fa-f]*)$/.exec(clean) ?? refuse('unexpected text');
    if (value === '') {
      const bank = names.includes(name!) ? (name as PcrBank) : undefined;
      if (bank === undefined && name !== 'sha1') refuse(`bank ${name} is not known`);
      if (bank !== undefined && banks.has(bank)) refuse(`expected bank ${bank} once`);
      values = new Map();
      bytes = bank === undefined ? 20 : BANK_BYTES[bank];
      if (bank !== undefined) banks.set(bank, values);
      continue;
    }
    const index = /^(?:[0-9]|1[0-9]|2[0-3])$/.test(name!) ? Number(name) : refuse('expected PCRs 0 to 23');
    if (values === undefined || values.has(index)) return refuse(`PCR ${index}: expected it once, in a bank`);
    if (value.length !== 2 * bytes) refuse(`PCR ${index}: expected ${bytes} bytes as hex`);
    values.set(index, fromHex(value.toLowerCase()));
  }
  return banks;
}

export interface QuotedPcr {
  readonly bank: PcrBank;
  readonly index: number;
  readonly value: Uint8Array;
}

/** The values in the order of the quote; undefined when one is missing. */
export function quotedValues({ selection }: TpmAttest, pcrs: PcrValues): QuotedPcr[] | undefined {
  const values = selection.flatMap(({ bank, indices }) =>
    indices.map((index) => ({ bank, index, value: pcrs.get(bank)?.get(index) })),
  );
  return values.every((one): one is QuotedPcr => one.value !== undefined) ? values : undefined;
}

/** What a TPM signs in place of the values: their hash, one after the other. */
export const pcrDigest = (hash: PcrBank, values: readonly QuotedPcr[]): Uint8Array =>
  BANK_HASH[hash](concat(...values.map(({ value }) => value)));

/** Evidence that Intel's hardware signed, from outside the repository; tests that need it skip visibly without. */
import { existsSync, readFileSync } from 'node:fs';
import {
  type IntelCollateral,
  NO_COLLATERAL,
  readIntelCollateral,
} from '../../protocols/attestation/formats/intel-collateral.ts';
import { BUILT_IN, type EvidencePolicy } from '../../protocols/attestation/policy.ts';
import { rememberSignatures } from '../../protocols/attestation/signature.ts';
import type { TestContext } from '../harness.ts';
import { verifyIntelQuote } from './from-bytes.ts';

const FOLDER = new URL('../../../shared/vectors/', import.meta.url);

export interface Vector {
  readonly path: string;
  readonly kind: string;
  readonly now: string;
  readonly verdict: 'accept' | 'reject';
  readonly reason?: string;
  readonly collateral?: string;
  readonly tcbStatus?: string;
  readonly advisories?: string[];
  readonly mrenclave?: string;
  readonly mrtd?: string;
}

export const needVectors = (t: TestContext): void => {
  if (!existsSync(FOLDER)) t.skip('no ../shared/vectors');
};

export const readVector = (name: string): Uint8Array => new Uint8Array(readFileSync(new URL(name, FOLDER)));
export const vectorPath = (name: string): string => new URL(name, FOLDER).pathname;
const textOf = (name: string): string => readFileSync(new URL(name, FOLDER), 'utf8');

export const intelVectors = (): Vector[] =>
  (JSON.parse(textOf('vectors.json')) as Vector[]).filter(({ kind }) => kind.startsWith('dcap'));

/** The members of a combined collateral file. */
export const combinedOf = (name: string): Record<string, string> =>
  JSON.parse(textOf(name)) as Record<string, string>;

export const collateralOf = (members: string | Record<string, string> | undefined): IntelCollateral => {
  if (members === undefined) return NO_COLLATERAL;
  const text = typeof members === 'string' ? textOf(members) : JSON.stringify(members);
  return readIntelCollateral(text) ?? NO_COLLATERAL;
};

export const SGX = {
  quote: 'intel/quotes/sgx_v3_dcapqvl.bin',
  collateral: 'intel/collateral/dcapqvl_sgx_quote_collateral.json',
  now: new Date('2025-07-04T00:00:00Z'),
} as const;
export const TDX = {
  quote: 'intel/quotes/tdx_v4_dcapqvl.bin',
  collateral: 'intel/collateral/dcapqvl_tdx_quote_collateral.json',
  now: new Date('2025-07-04T00:00:00Z'),
} as const;

// What did not change from one question to the next needs no second verification.
const remembered = rememberSignatures();

export const verify = (
  quote: Uint8Array,
  collateral: IntelCollateral,
  now: Date = TDX.now,
  policy: EvidencePolicy = BUILT_IN.genuine,
) => verifyIntelQuote({ quote, collateral, now, policy, verify: remembered });

/** A copy with the lowest bit of one byte flipped. */
export function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const copy = bytes.slice();
  copy[at]! ^= 1;
  return copy;
}

/** A copy with the lowest bit of one ASCII character flipped. */
export const flippedText = (text: string, at: number): string =>
  text.slice(0, at) + String.fromCharCode(text.charCodeAt(at) ^ 1) + text.slice(at + 1);

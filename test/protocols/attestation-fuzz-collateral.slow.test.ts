/** 10^5 inputs for each reader of Intel's collateral: see fuzzing.ts. */
import {
  parseQeIdentity,
  parseTcbInfo,
  readIntelCollateral,
} from '../../protocols/attestation/formats/intel-collateral.ts';
import { utf8 } from '../../protocols/encoding.ts';
import { suite } from '../harness.ts';
import { fuzz } from './fuzzing.ts';
import { combinedOf, needVectors, TDX } from './intel-vectors.ts';

const test = suite("readers of Intel's collateral under fuzzing", { timeoutMs: 590_000 });
const RUNS = 100_000;
const ofText = (parse: (text: string) => unknown) => (bytes: Uint8Array) =>
  parse(new TextDecoder().decode(bytes));

const members = () => combinedOf(TDX.collateral);
const COLLATERAL: readonly (readonly [string, () => string, (text: string) => unknown])[] = [
  ['TCB info', () => members().tcb_info!, parseTcbInfo],
  ['QE identity', () => members().qe_identity!, parseQeIdentity],
  ['combined collateral', () => JSON.stringify(members()), readIntelCollateral],
  ['TCB info as served', () => `{"tcbInfo":${members().tcb_info},"signature":"00"}`, readIntelCollateral],
];
for (const [name, text, parse] of COLLATERAL) {
  test(`${name}: a coded error or a value, in time and without waste`, (t) => {
    needVectors(t);
    fuzz(name, utf8(text()), ofText(parse), RUNS);
  });
}

test.run();

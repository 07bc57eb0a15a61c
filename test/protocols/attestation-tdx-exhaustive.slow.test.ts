/** Every byte of real Intel evidence, and 10^5 inputs for each parser: too long for every run. */
import * as fc from 'fast-check';
import { parseEventLog } from '../../protocols/attestation/formats/eventlog.ts';
import {
  parseQeIdentity,
  parseTcbInfo,
  readIntelCollateral,
} from '../../protocols/attestation/formats/intel-collateral.ts';
import { parseIntelQuote } from '../../protocols/attestation/formats/intel-quote.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import {
  collateralOf,
  combinedOf,
  flipped,
  flippedText,
  needVectors,
  readVector,
  SGX,
  TDX,
  verify,
} from './intel-vectors.ts';

const test = suite('Intel evidence, exhaustively', { timeoutMs: 900_000 });
const RUNS = 100_000;
const MAX_MS = 50;

test('one bit flipped in every byte of the quotes rejects', async (t) => {
  needVectors(t);
  for (const { quote: file, collateral, now } of [SGX, TDX]) {
    const quote = readVector(file);
    const fitting = collateralOf(collateral);
    for (let at = 0; at < quote.length; at++) {
      const { verdict } = await verify(flipped(quote, at), fitting, now);
      assert.is(verdict, 'reject', `${file}: byte ${at}`);
    }
  }
});

test('one character changed in every place of the collateral rejects', async (t) => {
  needVectors(t);
  const quote = readVector(TDX.quote);
  const members = combinedOf(TDX.collateral);
  for (const [name, text] of Object.entries(members)) {
    for (let at = 0; at < text.length; at++) {
      if (/\s/.test(text[at]!)) continue;
      const { verdict } = await verify(quote, collateralOf({ ...members, [name]: flippedText(text, at) }));
      assert.is(verdict, 'reject', `${name}: character ${at}`);
    }
  }
});

/** Random bytes, and real ones with a few changes: those get further. */
const inputs = (real: Uint8Array) =>
  fc.oneof(
    fc.uint8Array({ maxLength: 1000 }),
    fc
      .tuple(fc.array(fc.tuple(fc.nat(real.length - 1), fc.nat(255)), { maxLength: 8 }), fc.nat(real.length))
      .map(([changes, length]) => {
        const copy = real.slice(0, length);
        for (const [at, byte] of changes) if (at < length) copy[at] = byte;
        return copy;
      }),
  );

function fuzz<T>(arbitrary: fc.Arbitrary<T>, parse: (input: T) => unknown): void {
  fc.assert(
    fc.property(arbitrary, (input) => {
      const start = performance.now();
      try {
        parse(input);
      } catch (error) {
        assert.instance(error, VouchError);
      }
      // A busy machine can stop us in between: a second try tells.
      if (performance.now() - start < MAX_MS) return;
      const again = performance.now();
      try {
        parse(input);
      } catch {
        // seen above
      }
      assert.ok(performance.now() - again < MAX_MS, 'took too long');
    }),
    { numRuns: RUNS },
  );
}

test('quotes: 10^5 inputs', (t) => {
  needVectors(t);
  fuzz(inputs(readVector(TDX.quote)), parseIntelQuote);
  fuzz(inputs(readVector('intel/quotes/tdx_v5_td15_dcapqvl_outdated.bin')), parseIntelQuote);
});

test('event logs: 10^5 inputs', (t) => {
  needVectors(t);
  fuzz(inputs(readVector('intel/eventlogs/ccel_data.dat').slice(0, 19_000)), parseEventLog);
});

test('collateral: 10^5 inputs', (t) => {
  needVectors(t);
  const members = combinedOf(TDX.collateral);
  const bytes = (text: string) =>
    inputs(new TextEncoder().encode(text)).map((one) => new TextDecoder().decode(one));
  fuzz(bytes(members.tcb_info!), parseTcbInfo);
  fuzz(bytes(members.qe_identity!), parseQeIdentity);
  fuzz(bytes(JSON.stringify(members)), readIntelCollateral);
  fuzz(bytes(`{"tcbInfo":${members.tcb_info},"signature":"00"}`), readIntelCollateral);
});

test.run();

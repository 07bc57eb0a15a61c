/** 10^5 inputs for each reader of Intel's binary formats: see fuzzing.ts. */
import { parseEventLog } from '../../protocols/attestation/formats/eventlog.ts';
import { parseIntelQuote } from '../../protocols/attestation/formats/intel-quote.ts';
import { suite } from '../harness.ts';
import { fuzz } from './fuzzing.ts';
import { needVectors, readVector, SGX, TDX } from './intel-vectors.ts';

const test = suite("readers of Intel's formats under fuzzing", { timeoutMs: 590_000 });
const RUNS = 100_000;

const QUOTES = [SGX.quote, TDX.quote, 'intel/quotes/tdx_v5_td15_dcapqvl_outdated.bin'];
for (const file of QUOTES) {
  test(`quote ${file}: a coded error or a value, in time and without waste`, (t) => {
    needVectors(t);
    fuzz(file, readVector(file), parseIntelQuote, RUNS);
  });
}

test('event log: a coded error or a value, in time and without waste', (t) => {
  needVectors(t);
  // Beyond this lies padding.
  fuzz('event log', readVector('intel/eventlogs/ccel_data.dat').slice(0, 19_000), parseEventLog, RUNS);
});

test.run();

/** 10^5 inputs for each reader of Nitro, Azure and dstack's evidence: see fuzzing.ts. */
import { gzipSync } from 'node:zlib';
import { parseDstackAttestation } from '../../protocols/attestation/dstack-attestation.ts';
import { sortFiles } from '../../protocols/attestation/evidence-files.ts';
import { parseHclReport } from '../../protocols/attestation/formats/azure-hcl.ts';
import { parseVtpmQuote } from '../../protocols/attestation/formats/azure-vtpm.ts';
import { parseEventLog } from '../../protocols/attestation/formats/eventlog.ts';
import { parseJsonLog } from '../../protocols/attestation/formats/eventlog-json.ts';
import { parseNitroDocument } from '../../protocols/attestation/formats/nitro-document.ts';
import { gunzip } from '../../protocols/attestation/inflate.ts';
import { concat, fromHex, hex, utf8 } from '../../protocols/encoding.ts';
import { suite } from '../harness.ts';
import { azureJson, azureVm, vtpmFile } from './azure-maker.ts';
import { fuzzReaders } from './fuzzing.ts';
import { nitroDocument, nitroVendor } from './nitro-maker.ts';
import { base64, device, json, LOG, nvidiaEntry, td, tinfoil } from './service-maker.ts';
import { snpReport } from './snp-maker.ts';

const test = suite('readers of Nitro, Azure and services under fuzzing', { timeoutMs: 590_000 });
const RUNS = 100_000;
const aws = await nitroVendor();
const vm = await azureVm();
const { quote } = await td(new Uint8Array(64));
const report = await snpReport();
const dstack = concat(
  fromHex('0003'),
  Uint8Array.of(((1184 << 2) | 1) & 255, 1184 >> 6),
  report,
  fromHex('000000'),
  new Uint8Array(64),
  fromHex('00'),
);
const sort = (bytes: Uint8Array) => sortFiles([{ name: 'file', bytes }]);
const entry = nvidiaEntry(await device());

const READERS: readonly (readonly [name: string, good: Uint8Array, parse: (bytes: Uint8Array) => unknown])[] =
  [
    ['Nitro document', await nitroDocument(aws, { indefinite: true }), parseNitroDocument],
    ['Nitro document in a response', await nitroDocument(aws, { response: true }), parseNitroDocument],
    ['HCL report', vm.hcl, parseHclReport],
    ['vTPM quote', vtpmFile(vm), parseVtpmQuote],
    ['gzip', new Uint8Array(gzipSync(utf8(hex(report)))), (bytes) => gunzip(bytes, 65_536)],
    ['dstack event log', json(LOG), parseJsonLog],
    ['dstack attestation', dstack, parseDstackAttestation],
    ["an attestation agent's log", utf8(`INIT sha384/${'0'.repeat(96)}\na b c\nd e f\n`), parseEventLog],
    ['Azure evidence', azureJson(vm), sort],
    ['GPU list', json([entry]), sort],
    [
      'Phala report',
      json({ intel_quote: base64(quote), nvidia_payload: JSON.stringify({ evidence_list: [entry] }) }),
      sort,
    ],
    ['Tinfoil document', json(tinfoil('sev-snp', report)), sort],
  ];

fuzzReaders(test, READERS, RUNS);

test.run();

/**
 * How long a verdict over evidence takes, from its files' bytes to all checks, on one core. Evidence, certificates and
 * manifests are those that real hardware and its vendors signed (../shared/vectors); each verdict has to be `accept`.
 * No driver manifest fits a report at hand, so that of another driver is verified beside the report and its vBIOS
 * manifest: the same document, signature and chain, only nothing to compare its measurements with.
 *
 * Of AWS and Azure no evidence by real hardware is among them, nor what Google and Sigstore sign of software: documents,
 * VMs and statements are by made-up vendors that issue what these issue, the same keys and chains.
 *
 * No hardware signed anything that binds a key of ours, so the composite receipt is by made-up vendors: a TD's quote, a
 * GPU's report, two manifests of 20 measurements each, collateral from files, the strict policy.
 */
import { existsSync, readFileSync } from 'node:fs';
import { type Certificate, parseCertificate } from '../../protocols/attestation/certificate.ts';
import { verifyChain } from '../../protocols/attestation/chain.ts';
import { type NamedBytes, sortFiles } from '../../protocols/attestation/evidence-files.ts';
import { judgeEvidence } from '../../protocols/attestation/evidence-verdict.ts';
import type { VendorRoots } from '../../protocols/attestation/formats/format.ts';
import { parseOcspResponse } from '../../protocols/attestation/ocsp.ts';
import { parsedOnce } from '../../protocols/attestation/parsed.ts';
import { BUILT_IN } from '../../protocols/attestation/policy.ts';
import { demandAccepted, verifyEvidence } from '../../protocols/attestation/verify.ts';
import { hex } from '../../protocols/encoding.ts';
import { type ReceiptReport, verifyReceipt } from '../../protocols/receipt.ts';
import { azureJson, azureVm } from '../protocols/azure-maker.ts';
import { fingerprint } from '../protocols/certificate-maker.ts';
import { composite, later, NOW, policyFor, questionFor, receiptBy } from '../protocols/composite-maker.ts';
import { endorsement, googleRoots } from '../protocols/google-maker.ts';
import { gpu, vendor } from '../protocols/gpu-maker.ts';
import { nitroDocument, nitroVendor, SIGNED_AT } from '../protocols/nitro-maker.ts';
import { json } from '../protocols/service-maker.ts';
import { instance, pinsOf, trustedRoot } from '../protocols/sigstore-instance.ts';
import { bundle, statementOf } from '../protocols/sigstore-maker.ts';
import { arkDer, askDer, snpReport, vcekDer } from '../protocols/snp-maker.ts';
import { NONCE } from '../protocols/tpm-maker.ts';
import { type BenchContext, type Row, row } from './result.ts';
import { median, timed } from './statistics.ts';

const VECTORS = new URL('../../../shared/vectors/', import.meta.url);
const WARM_UP = 20;
const TIMES = 200;

interface Piece {
  readonly files: readonly string[];
  readonly at: string;
  readonly nonce?: string;
}
const SNP: Piece = {
  files: ['amd/reports/trustee_v2_milan.bin', 'amd/certs/trustee_vcek.der'],
  at: '2024-01-01',
};
const TDX: Piece = {
  files: ['intel/quotes/tdx_v4_dcapqvl.bin', 'intel/collateral/dcapqvl_tdx_quote_collateral.json'],
  at: '2025-07-04',
};
const GPU: Piece = {
  files: [
    'nvidia/reports/sdk_hopper_535.86.09.hex',
    'nvidia/reports/sdk_hopper_535.86.09.chain.pem',
    'nvidia/rims/1010_0200_882_96005E0001_PROD.swidtag',
  ],
  at: '2024-06-01',
  nonce: '27a328247bf7935c993341cf587be6f05986ccce4fe7ba2c54100bd616a58f66',
};
const DRIVER_RIM: Piece = { files: ['nvidia/rims/NV_GPU_DRIVER_GH100_550.144.03.xml'], at: '2026-11-01' };

/** What -> its pieces and the milliseconds that it may take. */
const CASES: readonly (readonly [what: string, pieces: readonly Piece[], must: number])[] = [
  ['SEV-SNP report, VCEK and AMD chain', [SNP], 10],
  ['TDX quote with collateral', [TDX], 30],
  ['GPU report with two manifests', [GPU, DRIVER_RIM], 60],
];

export async function benchmarkAttestation({ say, signal }: BenchContext): Promise<Row[]> {
  if (!existsSync(VECTORS))
    throw new Error('expected ../shared/vectors beside this checkout, got no such folder');
  const rows: Row[] = [];
  const cases = [
    ...CASES.map(([what, pieces, must]) => [what, prepared(pieces), must] as const),
    ...(await clouds()),
    ...(await receipts()),
    ...(await revocation()),
  ];
  for (const [what, judge, must] of cases) {
    for (let i = 0; i < WARM_UP; i++) await judge();
    const wall: number[] = [];
    const cpu: number[] = [];
    for (let i = 0; i < TIMES; i++) {
      signal.throwIfAborted();
      const before = process.cpuUsage();
      wall.push((await timed(judge)).ms);
      const { user, system } = process.cpuUsage(before);
      cpu.push((user + system) / 1000);
    }
    const bound = must === undefined ? {} : { must };
    say(`${what}: ${median(wall).toFixed(1)} ms, ${median(cpu).toFixed(1)} ms of processor`);
    rows.push(
      row({ name: what, unit: 'ms', ours: median(wall), ...bound }),
      row({ name: `${what}, processor time of all threads`, unit: 'ms', ours: median(cpu), ...bound }),
    );
  }
  return rows;
}

/** Evidence as clouds hand it out, from its bytes. */
async function clouds(): Promise<(readonly [string, () => Promise<void>, number])[]> {
  const aws = await nitroVendor();
  const vm = await azureVm();
  const judge = (files: readonly Uint8Array[], nonce: string | undefined, roots: VendorRoots) => async () => {
    const given = sortFiles(files.map((bytes, i) => ({ name: `${i}`, bytes })));
    const policy = BUILT_IN.genuine;
    const judged = await judgeEvidence({ given, store: sortFiles([]), policy, now: SIGNED_AT, nonce, roots });
    demandAccepted(judged);
  };
  const amd = new Map([[fingerprint(arkDer), 'Turin' as const]]);
  const report = await snpReport();
  const measurement = hex(report.subarray(0x90, 0x90 + 48));
  const snp = [report, vcekDer, askDer, arkDer];
  const endorsed = await endorsement({ snp: { 2: measurement } });
  const sigstore = await instance();
  const [root, provenance] = [json(trustedRoot(sigstore)), pinsOf(sigstore)];
  const stated = json(await bundle(sigstore, { statement: statementOf({ measurement }) }));
  return [
    ['AWS Nitro document', judge([await nitroDocument(aws)], undefined, { nitro: aws.roots }), 30],
    ['Azure VM: HCL report, vTPM quote', judge([azureJson(vm), askDer, arkDer], hex(NONCE), { amd }), 30],
    [
      "SNP report with Google's endorsement",
      judge([...snp, endorsed], undefined, { amd, gce: googleRoots }),
      30,
    ],
    ['SNP report with a Sigstore bundle', judge([...snp, root, stated], undefined, { amd, provenance }), 30],
  ];
}

/** A composite receipt from its bytes and those of the collateral, and the next receipt of the same session. */
async function receipts(): Promise<(readonly [string, () => Promise<void>, number?])[]> {
  const made = await composite();
  const { bundle } = await receiptBy(made);
  const { files, roots } = made;
  const question = { policy: policyFor(), now: later(20), roots };
  const accepted = await verifyEvidence(questionFor(made));
  const demanding = (ask: () => Promise<ReceiptReport>) => async () => demandAccepted(await ask(), 'receipt');
  return [
    [
      'composite receipt: TD, GPU, two manifests',
      demanding(() => verifyReceipt(bundle, { ...question, collateral: sortFiles(files) })),
      150,
    ],
    [
      'composite receipt, evidence accepted earlier in the session',
      demanding(() => verifyReceipt(bundle, { ...question, accepted })),
    ],
  ];
}

/** Three OCSP responses by responders of their own, read from their bytes and checked for a device's chain of five. */
async function revocation(): Promise<(readonly [string, () => Promise<void>, number?])[]> {
  const makers = await vendor();
  const { chain, serial } = await gpu(makers);
  const responses = [...makers.ocsp, await makers.answer(serial)];
  const [leaf, ...others] = chain.map((der) => parseCertificate(der)) as [Certificate, ...Certificate[]];
  return [
    [
      'OCSP responses about a GPU chain',
      async () => {
        const { passed, checks } = await verifyChain({
          certificates: [leaf, ...others],
          rootFingerprints: [leaf, ...others].slice(-1).map(({ fingerprint }) => fingerprint),
          ocsp: responses.map((der) => parsedOnce(() => parseOcspResponse(der))),
          revocation: 'required',
          now: NOW,
        });
        if (!passed) throw new Error(`rejected: ${checks.find(({ status }) => status === 'fail')?.detail}`);
      },
      30,
    ],
  ];
}

/** Reads the files once; what it returns sorts and judges them. Throws unless they are accepted. */
function prepared(pieces: readonly Piece[]): () => Promise<void> {
  const read = pieces.map(({ files, at, nonce }) => ({
    now: new Date(at),
    nonce,
    files: files.map(
      (name): NamedBytes => ({ name, bytes: new Uint8Array(readFileSync(new URL(name, VECTORS))) }),
    ),
  }));
  const store = sortFiles([]);
  return async () => {
    for (const { now, nonce, files } of read) {
      const given = sortFiles(files);
      const { verdict, checks } = await judgeEvidence({ given, store, policy: BUILT_IN.genuine, now, nonce });
      const failed = checks.find(({ status }) => status === 'fail');
      if (verdict !== 'accept')
        throw new Error(`${files[0]!.name}: rejected: ${failed?.id}: ${failed?.detail}`);
    }
  };
}

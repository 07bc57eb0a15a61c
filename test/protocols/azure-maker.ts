/** A made-up Azure confidential VM: its HCL report, runtime data and vTPM, on the made-up Turin of snp-maker.ts. */
import { concat, hex, sha256, utf8 } from '../../protocols/encoding.ts';
import { snpReport, vcekDer } from './snp-maker.ts';
import { attest, NONCE, SHA256_BANK } from './tpm-maker.ts';

const le = (value: number, bytes: number): Uint8Array =>
  Uint8Array.from({ length: bytes }, (_, i) => Math.floor(value / 256 ** i) % 256);
const SCHEME = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' } as const;

export interface Vtpm {
  readonly jwk: JsonWebKey;
  /** RSASSA with SHA-256, the number alone */
  readonly sign: (data: Uint8Array) => Promise<Uint8Array>;
}

export async function vtpm(): Promise<Vtpm> {
  const keys = await crypto.subtle.generateKey(
    { ...SCHEME, modulusLength: 2048, publicExponent: Uint8Array.of(1, 0, 1) },
    true,
    ['sign', 'verify'],
  );
  const { n, e } = await crypto.subtle.exportKey('jwk', keys.publicKey);
  return {
    jwk: { kty: 'RSA', n: n!, e: e! },
    sign: async (data) =>
      new Uint8Array(await crypto.subtle.sign(SCHEME, keys.privateKey, new Uint8Array(data))),
  };
}

export const runtimeData = ({ jwk }: Vtpm, changes: object = {}): Uint8Array =>
  utf8(
    JSON.stringify({
      keys: [
        { kid: 'HCLAkPub', key_ops: ['sign'], ...jwk },
        { kid: 'HCLEkPub', key_ops: ['encrypt'], kty: 'RSA', e: 'AQAB', n: 'AQAB' },
      ],
      'vm-configuration': { 'console-enabled': false, 'secure-boot': true, 'tpm-enabled': true },
      'user-data': `${hex(NONCE)}${'00'.repeat(64 - NONCE.length)}`,
      ...changes,
    }),
  );

/** The content of NV index 0x01400001. */
export function hclReport(
  report: Uint8Array,
  runtime: Uint8Array,
  { type = 2, hash = 1, version = 2, size = runtime.length } = {},
): Uint8Array {
  const bytes = concat(
    utf8('HCLA'),
    le(version, 4),
    le(32 + 1184 + 20 + runtime.length, 4),
    le(2, 4),
    new Uint8Array(16),
    report,
    new Uint8Array(1184 - report.length),
    le(20 + runtime.length, 4),
    le(1, 4),
    le(type, 4),
    le(hash, 4),
    le(size, 4),
    runtime,
  );
  return concat(bytes, new Uint8Array(Math.max(0, 2600 - bytes.length)));
}

export const bound = (runtime: Uint8Array): Uint8Array => concat(sha256(runtime), new Uint8Array(32));

/** SHA-256 values of all 24 PCRs. */
export const AZURE_PCRS = Array.from({ length: 24 }, (_, i) => new Uint8Array(32).fill(i));

export interface AzureVm {
  readonly tpm: Vtpm;
  readonly runtime: Uint8Array;
  readonly hcl: Uint8Array;
  readonly vcek: Uint8Array;
  readonly quote: Uint8Array;
  readonly signature: Uint8Array;
}

export async function azureVm(options: { nonce?: Uint8Array; runtime?: object } = {}): Promise<AzureVm> {
  const tpm = await vtpm();
  const runtime = runtimeData(tpm, options.runtime);
  const quote = attest({
    extraData: options.nonce ?? NONCE,
    selections: [[SHA256_BANK, 'ffffff']],
    digest: sha256(...AZURE_PCRS),
  });
  return {
    tpm,
    runtime,
    hcl: hclReport(await snpReport({ reportData: bound(runtime) }), runtime),
    vcek: vcekDer,
    quote,
    signature: await tpm.sign(quote),
  };
}

const base64 = (bytes: Uint8Array): string => btoa(String.fromCharCode(...bytes));
export const base64Url = (bytes: Uint8Array): string =>
  base64(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');

export const tpmJson = ({ quote, signature }: Pick<AzureVm, 'quote' | 'signature'>) => ({
  message: hex(quote),
  signature: hex(signature),
  pcrs: AZURE_PCRS.map(hex),
});

/** Versions 0 to 2 of what Confidential Containers' attester writes. */
export function azureJson(vm: AzureVm, version: 0 | 1 | 2 = 2, more: object = {}): Uint8Array {
  const { hcl, vcek } = vm;
  const numbers = (bytes: Uint8Array) => [...bytes];
  const pem = `-----BEGIN CERTIFICATE-----\n${base64(vcek)}\n-----END CERTIFICATE-----\n`;
  const json =
    version === 0
      ? {
          quote: {
            message: numbers(vm.quote),
            signature: numbers(vm.signature),
            pcrs: AZURE_PCRS.map(numbers),
          },
          report: numbers(hcl),
          vcek: pem,
        }
      : { version, hcl_report: base64Url(hcl), tpm_quote: tpmJson(vm), vcek: base64Url(vcek) };
  return utf8(JSON.stringify({ ...json, ...more }));
}

/** What the Rust library az-cvm-vtpm writes. */
export const vtpmFile = ({ quote, signature }: Pick<AzureVm, 'quote' | 'signature'>): Uint8Array =>
  concat(
    le(signature.length, 8),
    signature,
    le(quote.length, 8),
    quote,
    le(AZURE_PCRS.length, 8),
    ...AZURE_PCRS,
  );

export const pcrText = `sha256:\n${AZURE_PCRS.map((value, i) => `  ${i} : 0x${hex(value)}\n`).join('')}`;

/**
 * Rules of others by which a CPU's 64 bytes of report data bind keys, nonces and what devices signed. A rule is chosen
 * by the file that evidence came in, or by name; what it binds comes from that file or from the verifier. Vouch's own
 * rule is report-data.ts.
 *
 * Not guaranteed: that what is bound is the other end's. Whoever talks to it has to compare the keys himself.
 */
import { sha256, sha384, sha512 } from '@noble/hashes/sha2.js';
import { concat, equal, hex, utf8 } from '../encoding.ts';
import { REPORT_DATA_BYTES } from './report-data.ts';

/** What a rule may bind, by the names that the command line takes. */
export const FACTS = {
  nonce: 'what the verifier asked with',
  data: 'whatever the application had bound, as it stands',
  key: 'a public key as SubjectPublicKeyInfo (DER)',
  tlsKey: "SHA-256 of the TLS key's SubjectPublicKeyInfo",
  hpkeKey: 'an X25519 public key to seal to',
  address: 'address or public key of the key that signs answers',
  gpuEvidence: 'SHA-256 of the evidence of GPUs as it travels',
  switchEvidence: 'the same of switches',
  cryptoMaterial: "SHA-256 of the document's list of keys",
  deviceEvidence: "SHA-256 of the document's list of devices' evidence",
} as const;
export type Fact = keyof typeof FACTS;
export type FactValues = Readonly<Partial<Record<Fact, Uint8Array>>>;

export interface Recipe {
  readonly title: string;
  /** where the rule is stated */
  readonly source: string;
  readonly needs: readonly Fact[];
  readonly may?: readonly Fact[];
  /**
   * What the report data may be: 64 bytes, or fewer where the rest is left open; none when a fact has the wrong length.
   */
  readonly reportData: (facts: FactValues) => readonly Uint8Array[];
}

const TINFOIL_LABEL = utf8('https://tinfoil.sh/report-data/v1');

/** Filled up with zeros; undefined for what is longer. */
const padded = (bytes: Uint8Array, length = REPORT_DATA_BYTES): Uint8Array[] =>
  bytes.length > length ? [] : [concat(bytes, new Uint8Array(length - bytes.length))];
const allOf = (length: number, ...parts: readonly (Uint8Array | undefined)[]): boolean =>
  parts.every((part) => part?.length === length);

export const RECIPES = {
  dstack: {
    title: 'report data = the bytes given to GetQuote, then zeros',
    source: 'github.com/Dstack-TEE/dstack, docs/usage.md',
    needs: ['data'],
    reportData: ({ data }) => padded(data!),
  },
  nonce: {
    title: "report data = the verifier's nonce, then zeros",
    source: 'github.com/Dstack-TEE/dstack, docs/tutorials/attestation-verification.md',
    needs: ['nonce'],
    reportData: ({ nonce }) => padded(nonce!),
  },
  'dstack-app-data': {
    title: 'report data = SHA-512("app-data:" || data)',
    source: 'github.com/Dstack-TEE/dstack, dstack-attest: QuoteContentType',
    needs: ['data'],
    reportData: ({ data }) => [sha512(concat(utf8('app-data:'), data!))],
  },
  'dstack-ratls': {
    title: 'report data = SHA-512("ratls-cert:" || public key)',
    source: 'github.com/Dstack-TEE/dstack, dstack-attest: QuoteContentType',
    needs: ['key'],
    reportData: ({ key }) => [sha512(concat(utf8('ratls-cert:'), key!))],
  },
  phala: {
    title: 'report data = address, filled up to 32 bytes, or SHA-256(address || TLS key); then the nonce',
    source: 'github.com/nearai/private-ml-sdk, vllm-proxy: quote.py',
    needs: ['address', 'nonce'],
    may: ['tlsKey'],
    reportData: ({ address, nonce, tlsKey }) => {
      if (nonce!.length !== 32) return [];
      const plain = padded(address!, 32);
      const hashed = tlsKey === undefined ? [] : [sha256(concat(address!, tlsKey))];
      return [...plain, ...hashed].map((first) => concat(first, nonce!));
    },
  },
  'tinfoil-v2': {
    title: 'report data = SHA-256 of the TLS key, then the HPKE key',
    source: 'github.com/tinfoilsh/verifier, attestation.go',
    needs: ['tlsKey'],
    may: ['hpkeKey'],
    reportData: ({ tlsKey, hpkeKey = new Uint8Array(0) }) =>
      allOf(32, tlsKey) && (hpkeKey.length === 0 || hpkeKey.length === 32) ? [concat(tlsKey!, hpkeKey)] : [],
  },
  'tinfoil-v3-keys': {
    title:
      'report data = SHA-256(TLS key || HPKE key || nonce || GPU evidence || switch evidence), then zeros',
    source: 'github.com/tinfoilsh/cvmimage, attestation document v3 of 2026',
    needs: ['tlsKey', 'hpkeKey', 'nonce'],
    may: ['gpuEvidence', 'switchEvidence'],
    reportData: ({ tlsKey, hpkeKey, nonce, gpuEvidence, switchEvidence }) => {
      if (!allOf(32, tlsKey, hpkeKey, nonce)) return [];
      const fixed = [tlsKey!, hpkeKey!, nonce!];
      const none = new Uint8Array(32);
      const [gpu, nvswitch] = [gpuEvidence ?? none, switchEvidence ?? none];
      // The first version knew no switches; a digest that is left out counts as zeros.
      const forms = switchEvidence === undefined ? [[gpu], [gpu, nvswitch]] : [[gpu, nvswitch]];
      return forms.flatMap((rest) => padded(sha256(concat(...fixed, ...rest))));
    },
  },
  'tinfoil-v3': {
    title: 'report data = SHA-256(name of the rule || nonce || keys || devices), then zeros',
    source: 'github.com/tinfoilsh/tinfoil-go, verify/document',
    needs: ['nonce', 'cryptoMaterial', 'deviceEvidence'],
    reportData: ({ nonce, cryptoMaterial, deviceEvidence }) => {
      if (!allOf(32, nonce, cryptoMaterial, deviceEvidence)) return [];
      const parts = [nonce!, cryptoMaterial!, deviceEvidence!];
      // Earlier documents left the name of the rule out.
      return [concat(TINFOIL_LABEL, ...parts), concat(...parts)].flatMap((all) => padded(sha256(all)));
    },
  },
  trustee: {
    title: 'report data = SHA-384, SHA-256 or SHA-512 of the runtime data, then zeros',
    source: 'github.com/confidential-containers/trustee, attestation service',
    needs: ['data'],
    reportData: ({ data }) => [sha384, sha256, sha512].flatMap((hash) => padded(hash(data!))),
  },
} as const satisfies Readonly<Record<string, Recipe>>;
export type RecipeName = keyof typeof RECIPES;
export const RECIPE_NAMES = Object.keys(RECIPES) as RecipeName[];

/** What is said to be bound, and by which rule. All of it is unproven until the report data is compared. */
export interface BoundFacts {
  readonly recipe: RecipeName;
  readonly values: FactValues;
}

/** Why the report data does not bind these facts; undefined when it does. */
export function bindingFault({ recipe, values }: BoundFacts, reportData: Uint8Array): string | undefined {
  const { needs, reportData: rule, title }: Recipe = RECIPES[recipe];
  const missing = needs.filter((name) => values[name] === undefined);
  if (missing.length > 0) return `${title}: not given: ${missing.join(', ')}`;
  const expected = rule(values);
  if (expected.length === 0) return `${title}: a value given has the wrong length`;
  if (reportData.length !== REPORT_DATA_BYTES) {
    return `${title}: expected ${REPORT_DATA_BYTES} bytes of report data, got ${reportData.length}`;
  }
  if (expected.some((bytes) => equal(bytes, reportData.subarray(0, bytes.length)))) return undefined;
  return `${title}: expected ${hex(expected[0]!)}, got ${hex(reportData)}`;
}

/** Which facts were compared, for people. */
export function boundNames({ recipe, values }: BoundFacts): string {
  const { needs, may = [] }: Recipe = RECIPES[recipe];
  return [...needs, ...may].filter((name) => values[name] !== undefined).join(', ');
}

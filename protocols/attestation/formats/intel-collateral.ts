/**
 * Intel's signed statements about platforms, read in the forms in which they travel: TCB info and QE identity
 * as the Provisioning Certification Service (PCS, API version 3 and 4) serves them, and the combined JSON that
 * attestation clients keep (`tcb_info`, `tcb_info_signature`, `tcb_info_issuer_chain`, `pck_crl`, ...).
 *
 * A signature covers the bytes as they were served, so those are kept beside what was read from them. Nothing
 * is verified here, and nothing here decides whether collateral is current.
 */
import { z } from 'zod';
import { type Bytes, fromHex, utf8 } from '../../encoding.ts';
import { VouchError } from '../../errors.ts';
import { type Certificate, parseRevocationList, type RevocationList } from '../certificate.ts';
import { MAX_COLLATERAL_BYTES, MAX_CRL_BYTES } from '../limits.ts';
import { type Parsed, parsedOnce } from '../parsed.ts';

const MAX_LEVELS = 256;

/** A JSON text and the signature over exactly its bytes. */
export interface SignedText {
  readonly text: string;
  /** r || s as hex, unchecked */
  readonly signature: string;
  /** PEM, signer first; absent where the certificates travel apart */
  readonly chain?: string;
}

/** Collateral at hand, of any platform and any age; `verifyIntelQuote` takes what fits the quote. */
export interface IntelCollateral {
  readonly tcbInfos: readonly SignedText[];
  readonly qeIdentities: readonly SignedText[];
  /** one that cannot be read fails the chains that it was given for */
  readonly crls: readonly Parsed<RevocationList>[];
  /** PEM chains that came with CRLs: the CRL's issuer first */
  readonly crlChains: readonly string[];
  /** those that came alone */
  readonly certificates: readonly Certificate[];
}

export const NO_COLLATERAL: IntelCollateral = {
  tcbInfos: [],
  qeIdentities: [],
  crls: [],
  crlChains: [],
  certificates: [],
};

export const mergeCollateral = (...parts: readonly IntelCollateral[]): IntelCollateral => ({
  tcbInfos: parts.flatMap(({ tcbInfos }) => tcbInfos),
  qeIdentities: parts.flatMap(({ qeIdentities }) => qeIdentities),
  crls: parts.flatMap(({ crls }) => crls),
  crlChains: parts.flatMap(({ crlChains }) => crlChains),
  certificates: parts.flatMap(({ certificates }) => certificates),
});

/** From best to worst: the order decides which of two statuses counts. */
export type TcbStatus = z.infer<typeof TcbStatus>;
export const TcbStatus = z.enum([
  'UpToDate',
  'SWHardeningNeeded',
  'ConfigurationNeeded',
  'ConfigurationAndSWHardeningNeeded',
  'OutOfDate',
  'OutOfDateConfigurationNeeded',
  'Revoked',
]);

const Time = z
  .string()
  .regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'expected a time such as 2025-01-31T00:00:00Z')
  .transform((text) => new Date(text))
  .refine((date) => !Number.isNaN(date.getTime()), 'expected a date of the calendar');
const hexOf = (bytes: number) =>
  z
    .string()
    .regex(new RegExp(`^[0-9A-Fa-f]{${2 * bytes}}$`), `expected ${bytes} bytes as hex`)
    .transform((text) => fromHex(text.toLowerCase()));
const Svn = z.int().min(0).max(65_535);
const Svns = z.array(z.object({ svn: z.int().min(0).max(255) })).length(16);
const level = <T extends z.ZodRawShape>(tcb: z.ZodObject<T>) =>
  z.object({
    tcb,
    tcbDate: Time,
    tcbStatus: TcbStatus,
    advisoryIDs: z
      .array(z.string().regex(/^[A-Z0-9-]{1,40}$/))
      .max(MAX_LEVELS)
      .default([]),
  });
const EnclaveLevel = level(z.object({ isvsvn: Svn }));
const dates = {
  issueDate: Time,
  nextUpdate: Time,
  tcbEvaluationDataNumber: z
    .int()
    .min(0)
    .max(2 ** 31),
};
const Module = z.object({ mrsigner: hexOf(48), attributes: hexOf(8), attributesMask: hexOf(8) });

const platform = { ...dates, fmspc: hexOf(6), pceId: hexOf(2), tcbType: z.literal(0) };
const TcbInfo3 = z.object({
  ...platform,
  id: z.enum(['SGX', 'TDX']),
  version: z.literal(3),
  tdxModule: Module.optional(),
  tdxModuleIdentities: z
    .array(
      Module.extend({
        id: z.string().regex(/^TDX_[0-9A-Fa-f]{2}$/),
        tcbLevels: z.array(EnclaveLevel).max(MAX_LEVELS),
      }),
    )
    .max(MAX_LEVELS)
    .default([]),
  tcbLevels: z
    .array(
      level(z.object({ sgxtcbcomponents: Svns, pcesvn: Svn, tdxtcbcomponents: Svns.optional() })).transform(
        ({ tcb, ...rest }) => ({
          ...rest,
          sgx: tcb.sgxtcbcomponents.map(({ svn }) => svn),
          pceSvn: tcb.pcesvn,
          tdx: tcb.tdxtcbcomponents?.map(({ svn }) => svn),
        }),
      ),
    )
    .min(1)
    .max(MAX_LEVELS),
});

const COMPONENTS = Array.from({ length: 16 }, (_, i) => `sgxtcbcomp${String(i + 1).padStart(2, '0')}svn`);
/** API version 3: SGX only, one named member for each component. */
const TcbInfo2 = z
  .object({
    ...platform,
    version: z.literal(2),
    tcbLevels: z
      .array(
        level(
          z.object({ pcesvn: Svn, ...Object.fromEntries(COMPONENTS.map((name) => [name, Svn])) }),
        ).transform(({ tcb, ...rest }) => ({
          ...rest,
          sgx: COMPONENTS.map((name) => (tcb as Record<string, number>)[name]!),
          pceSvn: tcb.pcesvn,
          tdx: undefined,
        })),
      )
      .min(1)
      .max(MAX_LEVELS),
  })
  .transform((info) => ({ ...info, id: 'SGX' as const, tdxModule: undefined, tdxModuleIdentities: [] }));

/** Members that are not known are ignored: Intel signed them, and adds some within a version. */
const TcbInfo = z.union([TcbInfo3, TcbInfo2]);
export type TcbInfo = z.infer<typeof TcbInfo>;

const QeIdentity = z.object({
  ...dates,
  id: z.enum(['QE', 'TD_QE', 'QVE']),
  version: z.literal(2),
  miscselect: hexOf(4),
  miscselectMask: hexOf(4),
  attributes: hexOf(16),
  attributesMask: hexOf(16),
  mrsigner: hexOf(32),
  isvprodid: Svn,
  tcbLevels: z.array(EnclaveLevel).min(1).max(MAX_LEVELS),
});
export type QeIdentity = z.infer<typeof QeIdentity>;

/** Throws `evidence-rejected` that names the first field that is wrong. */
export const parseTcbInfo = (text: string): TcbInfo => parsed(TcbInfo, text, 'TCB info');
/** Throws `evidence-rejected` that names the first field that is wrong. */
export const parseQeIdentity = (text: string): QeIdentity => parsed(QeIdentity, text, 'QE identity');

function parsed<T>(schema: z.ZodType<T>, text: string, what: string): T {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new VouchError('evidence-rejected', `${what}: expected JSON, got ${text.length} other characters`);
  }
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new VouchError(
    'evidence-rejected',
    `${what}${issue?.path.length ? `.${issue.path.join('.')}` : ''}: ${issue?.message ?? 'not as specified'}`,
  );
}

const text = z.string().max(MAX_COLLATERAL_BYTES);
/** Named as attestation clients name them; what is not known is ignored, what is missing is missing later. */
const Combined = z
  .object({
    pck_crl_issuer_chain: text,
    root_ca_crl: text,
    pck_crl: text,
    tcb_info_issuer_chain: text,
    tcb_info: text,
    tcb_info_signature: text,
    qe_identity_issuer_chain: text,
    qe_identity: text,
    qe_identity_signature: text,
  })
  .partial();

/** Statements as they are served: the member that a signature covers -> where it belongs. */
const SERVED = [
  ['tcbInfo', 'tcbInfos'],
  ['enclaveIdentity', 'qeIdentities'],
] as const;

/** Whether JSON has a member of one of the forms; says nothing about the rest. */
export const looksLikeIntelCollateral = (json: unknown): boolean =>
  typeof json === 'object' &&
  json !== null &&
  [...SERVED.map(([member]) => member), ...Object.keys(Combined.shape)].some((member) =>
    Object.hasOwn(json, member),
  );

/** Reads one collateral file; undefined when its JSON is something else. Throws `bad-input` when it is no JSON. */
export function readIntelCollateral(source: string): IntelCollateral | undefined {
  if (source.length > MAX_COLLATERAL_BYTES) {
    throw new VouchError('too-large', `collateral: expected at most ${MAX_COLLATERAL_BYTES} characters`);
  }
  let json: unknown;
  try {
    json = JSON.parse(source);
  } catch {
    throw new VouchError('bad-input', 'collateral: expected JSON, got a text that is truncated or damaged');
  }
  if (typeof json !== 'object' || json === null) return undefined;
  for (const [member, kind] of SERVED) {
    if (Object.hasOwn(json, member)) {
      const signature = (json as { signature?: unknown }).signature;
      const signed = memberText(source, member);
      if (typeof signature !== 'string' || signed === undefined) return undefined;
      return { ...NO_COLLATERAL, [kind]: [{ text: signed, signature }] };
    }
  }
  const combined = Combined.safeParse(json);
  if (!combined.success || Object.keys(combined.data).length === 0) return undefined;
  return fromCombined(combined.data);
}

function fromCombined(all: z.infer<typeof Combined>): IntelCollateral {
  const signed = (content?: string, signature?: string, chain?: string): SignedText[] =>
    content === undefined
      ? []
      : [{ text: content, signature: signature ?? '', ...(chain === undefined ? {} : { chain }) }];
  const crls = [all.root_ca_crl, all.pck_crl].filter((crl) => crl !== undefined);
  return {
    tcbInfos: signed(all.tcb_info, all.tcb_info_signature, all.tcb_info_issuer_chain),
    qeIdentities: signed(all.qe_identity, all.qe_identity_signature, all.qe_identity_issuer_chain),
    crls: crls.map((content) => parsedOnce(() => parseRevocationList(hexBytes(content)))),
    crlChains: all.pck_crl_issuer_chain === undefined ? [] : [all.pck_crl_issuer_chain],
    certificates: [],
  };
}

/** What is not hex becomes its first character, which no parser of DER accepts. */
function hexBytes(content: string): Bytes {
  const digits = content.trim().toLowerCase();
  const fits = digits.length % 2 === 0 && digits.length <= 2 * MAX_CRL_BYTES && !/[^0-9a-f]/.test(digits);
  return fits ? fromHex(digits) : utf8(content.slice(0, 1));
}

/**
 * The exact text of one member of the outermost object of `source`, which is valid JSON. Undefined when the
 * member is absent or there twice: two readers could then see different ones.
 */
function memberText(source: string, member: string): string | undefined {
  let found: string | undefined;
  let depth = 0;
  let name: string | undefined;
  let start = 0;
  for (let at = 0; at < source.length; at++) {
    const character = source[at];
    if (character === '"') {
      const from = at;
      for (at++; source[at] !== '"'; at++) if (source[at] === '\\') at++;
      if (depth === 1 && name === undefined) name = JSON.parse(source.slice(from, at + 1)) as string;
    } else if (character === '{' || character === '[') depth++;
    else if (character === ':' && depth === 1) start = at + 1;
    else if (character === '}' || character === ']') depth--;
    if ((character === ',' && depth === 1) || (character === '}' && depth === 0)) {
      if (name === member) {
        if (found !== undefined) return undefined;
        found = source.slice(start, at).trim();
      }
      name = undefined;
    }
  }
  return found;
}

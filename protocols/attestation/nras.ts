/**
 * Tokens of NVIDIA's Remote Attestation Service: what NVIDIA itself found when somebody showed it a GPU's evidence. A
 * second opinion beside the report, never instead of it: a token only adds what can fail.
 *
 * A bundle is `[["JWT", overall], {"GPU-0": device, ...}]` (RFC 9711, detached EAT; NVIDIA's claims guide, versions 2 and
 * 3). Every token is a JWS in compact form (RFC 7515) by ES384; the overall one names the SHA-256 of each other's text.
 * The service's keys are a JWK set (RFC 7517), as a file. They change, so none is pinned here: a policy may name them.
 */
import { z } from 'zod';
import { concat, fromBase64url, fromHex, fromUtf8, hex, sha256, utf8 } from '../encoding.ts';
import { messageOf, VouchError } from '../errors.ts';
import type { Check } from './checklist.ts';
import type { GpuClaims } from './formats/nvidia-claims.ts';
import { MAX_DEVICES, MAX_NRAS_CHARACTERS } from './limits.ts';
import type { Parsed } from './parsed.ts';
import { type PublicKey, verifyEcdsa } from './signature.ts';

const ISSUER = 'https://nras.attestation.nvidia.com';
/** What stands before the two coordinates of a P-384 key (RFC 5480). */
const P384_SPKI = '3076301006072a8648ce3d020106052b8104002203620004';

const Header = z.object({ alg: z.string(), kid: z.string().optional() });
const Claims = z.object({
  iss: z.string(),
  eat_nonce: z.string(),
  exp: z.int(),
  nbf: z.int().optional(),
});
const Overall = Claims.extend({
  'x-nvidia-overall-att-result': z.boolean(),
  submods: z.record(z.string(), z.tuple([z.literal('DIGEST'), z.tuple([z.string(), z.string()])])),
});
const Device = Claims.extend({
  measres: z.string().optional(),
  'x-nvidia-gpu-driver-version': z.string().optional(),
  'x-nvidia-gpu-vbios-version': z.string().optional(),
});
const Bundle = z.tuple([z.tuple([z.literal('JWT'), z.string()]), z.record(z.string(), z.string())]);
const Jwk = z.object({
  kty: z.literal('EC'),
  crv: z.literal('P-384'),
  x: z.string(),
  y: z.string(),
  kid: z.string().optional(),
});

interface Token<T> {
  readonly text: string;
  readonly header: z.infer<typeof Header>;
  readonly claims: T;
}

/** What one bundle says. */
export interface SecondOpinion {
  readonly overall: Token<z.infer<typeof Overall>>;
  readonly devices: ReadonlyMap<string, Token<z.infer<typeof Device>>>;
}

export interface ServiceKey {
  readonly kid?: string | undefined;
  /** RFC 7638, lower-case hex */
  readonly thumbprint: string;
  readonly key: PublicKey;
}

export const looksLikeNrasTokens = (text: string): boolean => /^\s*\[\s*\[\s*"JWT"\s*,/.test(text);
export const looksLikeKeySet = (text: string): boolean =>
  /^\s*\{\s*"keys"\s*:\s*\[/.test(text) && text.includes('"kty"');

function read<T>(schema: z.ZodType<T>, text: string, what: string): T {
  if (text.length > MAX_NRAS_CHARACTERS) {
    throw new VouchError('bad-file', `${what}: expected at most ${MAX_NRAS_CHARACTERS} characters`);
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new VouchError('bad-file', `${what}: expected JSON: ${messageOf(error)}`);
  }
  const read = schema.safeParse(json);
  if (read.success) return read.data;
  const [issue] = read.error.issues;
  throw new VouchError('bad-file', `${what}: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
}

function tokenOf<T>(schema: z.ZodType<T>, text: string, what: string): Token<T> {
  const parts = text.split('.');
  if (parts.length !== 3) throw new VouchError('bad-file', `${what}: expected a JWS of three parts`);
  const [header, claims] = parts.map((part, i) => fromBase64url(part, `${what}, part ${i + 1}`));
  return {
    text,
    header: read(Header, fromUtf8(header!, what), what),
    claims: read(schema, fromUtf8(claims!, what), what),
  };
}

/** Throws `bad-file` or `bad-input`. */
export function parseNrasTokens(text: string): SecondOpinion {
  const what = 'NRAS tokens';
  const [[, overall], devices] = read(Bundle, text, what);
  const names = Object.keys(devices);
  if (names.length === 0 || names.length > MAX_DEVICES) {
    throw new VouchError('bad-file', `${what}: expected 1 to ${MAX_DEVICES} devices, got ${names.length}`);
  }
  return {
    overall: tokenOf(Overall, overall, `${what}, overall`),
    devices: new Map(names.map((name) => [name, tokenOf(Device, devices[name]!, `${what}, ${name}`)])),
  };
}

/** Keys of other kinds are passed over. Throws `bad-file` or `bad-input`. */
export function parseKeySet(text: string): ServiceKey[] {
  const { keys } = read(z.object({ keys: z.array(z.unknown()).max(64) }), text, 'JWK set');
  return keys.flatMap((json) => {
    const jwk = Jwk.safeParse(json);
    if (!jwk.success) return [];
    const { x, y, kid } = jwk.data;
    const point = concat(fromBase64url(x, 'JWK x', 48), fromBase64url(y, 'JWK y', 48));
    const spki = concat(fromHex(P384_SPKI), point);
    const thumbprint = hex(sha256(utf8(`{"crv":"P-384","kty":"EC","x":"${x}","y":"${y}"}`)));
    return { kid, thumbprint, key: { type: 'EC', curve: 'P-384', spki, point: spki.subarray(-97) } };
  });
}

export interface OpinionQuestion {
  readonly opinions: readonly Parsed<SecondOpinion>[];
  readonly keys: readonly ServiceKey[];
  /** thumbprints of keys that a policy names: then an opinion by one of them about every GPU is demanded */
  readonly demanded?: readonly string[] | undefined;
  /** what the reports that were judged beside it claim; those whose signatures hold */
  readonly gpus: readonly GpuClaims[];
  readonly now: Date;
}

type Fault = string | undefined;

/** Empty where there is no opinion and none is demanded. */
export async function judgeOpinions(question: OpinionQuestion): Promise<Check[]> {
  const { demanded, gpus, now } = question;
  const opinions = question.opinions.map((opinion) => opinion());
  if (opinions.length === 0) {
    if (demanded === undefined) return [];
    return [row('nras.devices', 'the policy demands a second opinion by NVIDIA, and none was given', '')];
  }
  const devices = opinions.flatMap((opinion) => [...opinion.devices]);
  const all = opinions.flatMap(({ overall, devices }) => [overall, ...devices.values()]);
  const signatures = await Promise.all(all.map((token) => signatureFault(token, question)));
  const named = demanded === undefined ? 'of the set given, which no policy names' : 'that the policy names';
  return [
    row('nras.signature', first(signatures), `${all.length} tokens by keys ${named}`),
    row('nras.digests', first(opinions.map(digestFault)), 'the overall token names every other'),
    row('nras.time', first(all.map(({ claims }) => timeFault(claims, now))), 'valid at that time'),
    row(
      'nras.nonce',
      first(all.map(({ claims }) => nonceFault(claims, gpus))),
      'answers what the report answers',
    ),
    row('nras.result', first([...opinions.map(resultFault), ...devices.map(measurementFault)]), 'success'),
    row('nras.devices', devicesFault(devices, question), `${devices.length} beside their reports`),
  ];
}

const row = (id: string, fault: Fault, done: string): Check =>
  fault === undefined
    ? { id, status: 'pass', detail: done }
    : { id, status: 'fail', code: 'evidence-rejected', detail: fault };

const first = (faults: readonly Fault[]): Fault => faults.find((fault) => fault !== undefined);

async function signatureFault(
  { text, header, claims }: Token<{ readonly iss: string }>,
  { keys, demanded }: OpinionQuestion,
): Promise<Fault> {
  if (header.alg !== 'ES384') return `expected a token signed by ES384, got ${header.alg.slice(0, 16)}`;
  if (claims.iss !== ISSUER) return `expected a token of ${ISSUER}, got one of ${claims.iss.slice(0, 64)}`;
  const fitting = keys.filter(
    ({ kid, thumbprint }) =>
      (header.kid === undefined || kid === undefined || kid === header.kid) &&
      (demanded === undefined || demanded.includes(thumbprint)),
  );
  if (fitting.length === 0)
    return `no key ${header.kid?.slice(0, 64) ?? ''} at hand: bring the service's JWK set`;
  const at = text.lastIndexOf('.');
  const signature = fromBase64url(text.slice(at + 1), 'signature');
  const signed = utf8(text.slice(0, at));
  for (const { key } of fitting) {
    if (await verifyEcdsa(key, 'SHA-384', signature, signed)) return undefined;
  }
  return 'not signed by the key that it names';
}

function digestFault({ overall, devices }: SecondOpinion): Fault {
  const { submods } = overall.claims;
  const missing = Object.keys(submods).find((name) => !devices.has(name));
  if (missing !== undefined) return `the token about ${missing.slice(0, 32)} is missing`;
  for (const [name, { text }] of devices) {
    const digest = Object.hasOwn(submods, name) ? submods[name]![1] : undefined;
    const fits = digest?.[0] === 'SHA-256' && digest[1].toLowerCase() === hex(sha256(utf8(text)));
    if (!fits) return `the overall token does not name the token about ${name.slice(0, 32)}`;
  }
  return undefined;
}

function timeFault({ exp, nbf }: z.infer<typeof Claims>, now: Date): Fault {
  const at = now.getTime() / 1000;
  const said = (seconds: number) => new Date(Math.min(seconds, 8e12) * 1000).toISOString();
  if (exp <= at) return `expired at ${said(exp)}`;
  return nbf !== undefined && nbf > at ? `valid from ${said(nbf)}` : undefined;
}

function nonceFault({ eat_nonce: nonce }: z.infer<typeof Claims>, gpus: readonly GpuClaims[]): Fault {
  const fits = gpus.some((gpu) => gpu.nonce === nonce.toLowerCase());
  return fits ? undefined : `answers ${nonce.slice(0, 64)}, which no verified report answers`;
}

const resultFault = ({ overall }: SecondOpinion): Fault =>
  overall.claims['x-nvidia-overall-att-result'] ? undefined : "NVIDIA's result is: not attested";

const measurementFault = ([name, { claims }]: readonly [string, Token<z.infer<typeof Device>>]): Fault =>
  claims.measres === undefined || /^success$/i.test(claims.measres)
    ? undefined
    : `${name.slice(0, 32)}: measurements: ${claims.measres.slice(0, 32)}`;

function devicesFault(
  devices: readonly (readonly [string, Token<z.infer<typeof Device>>])[],
  { gpus, demanded }: OpinionQuestion,
): Fault {
  if (gpus.length === 0) return 'beside no verified report of a GPU: a token never stands instead of it';
  for (const [name, { claims }] of devices) {
    const driver = claims['x-nvidia-gpu-driver-version'];
    const vbios = claims['x-nvidia-gpu-vbios-version']?.toLowerCase();
    const fits = (gpu: GpuClaims) =>
      (driver ?? gpu.driverVersion) === gpu.driverVersion &&
      (vbios ?? gpu.vbiosVersion.toLowerCase()) === gpu.vbiosVersion.toLowerCase();
    if (name.startsWith('GPU') && !gpus.some(fits)) {
      return `${name.slice(0, 32)}: no verified report with driver ${driver?.slice(0, 32)} and vBIOS ${vbios?.slice(0, 32)}`;
    }
  }
  const about = devices.filter(([name]) => name.startsWith('GPU')).length;
  return demanded !== undefined && about < gpus.length ? `about ${about} of ${gpus.length} GPUs` : undefined;
}

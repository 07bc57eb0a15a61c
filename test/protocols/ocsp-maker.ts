/**
 * Makes OCSP responses and what goes with them as NVIDIA's responders do: a response about one certificate, signed by a
 * responder whom the certificate's issuer has certified for a short time and for nothing else.
 */
import { sha1 } from '@noble/hashes/legacy.js';
import { utf8 } from '../../protocols/encoding.ts';
import {
  certify,
  der,
  type Extension,
  extension,
  integer,
  keyUsage,
  type Maker,
  maker,
  name,
  octets,
  oid,
  sequence,
  signed,
  time,
} from './certificate-maker.ts';

const ENUMERATED = 0x0a;
export const RESPONDER_URL = 'http://ocsp.ndis.nvidia.com';
export const OCSP_SIGNING: Extension = { id: '2.5.29.37', value: sequence(oid('1.3.6.1.5.5.7.3.9')) };
const NO_CHECK: Extension = { id: '1.3.6.1.5.5.7.48.1.5', value: der(0x05) };

/** Where a certificate's responder is. */
export const ocspAt = (url = RESPONDER_URL): Extension => ({
  id: '1.3.6.1.5.5.7.1.1',
  value: sequence(sequence(oid('1.3.6.1.5.5.7.48.1'), der(0x86, utf8(url)))),
});
/** Where the list is that may name a certificate. */
export const crlAt = (url: string): Extension => ({
  id: '2.5.29.31',
  value: sequence(sequence(der(0xa0, der(0xa0, der(0x86, utf8(url)))))),
});

/** The contents of a key's BIT STRING, for keys on P-256 and P-384. */
const keyBits = ({ spki, kind }: Maker): Uint8Array =>
  spki.subarray(spki.length - (kind === 'P-256' ? 65 : 97));

export interface OcspOptions {
  readonly status?: 'good' | 'revoked' | 'unknown';
  /** of RFC 5280: 1 keyCompromise, 6 certificateHold */
  readonly reason?: number;
  readonly thisUpdate?: Date;
  /** null: none */
  readonly nextUpdate?: Date | null;
  readonly producedAt?: Date;
  readonly nonce?: Uint8Array;
  /** who signs; default: a new responder that the issuer certifies */
  readonly by?: Maker | undefined;
  /** DER of the certificates that come along; default: the new responder's */
  readonly certificates?: readonly Uint8Array[] | undefined;
  readonly responderExtensions?: readonly Extension[];
  readonly responderDates?: { readonly notBefore?: Date; readonly notAfter?: Date };
  readonly responderIssuer?: Maker;
  readonly byKey?: boolean;
  readonly extensions?: readonly Extension[];
  readonly hash?: 'SHA-1' | 'SHA-256';
  /** responseStatus, for responders that refuse */
  readonly responseStatus?: number;
}

/** What is said of the certificate that `issuer` gave the number `serial`, DER. */
export async function ocsp(
  issuer: Maker,
  serial: number | Uint8Array,
  options: OcspOptions = {},
): Promise<Uint8Array> {
  const { status = 'good', reason, nonce, byKey = false } = options;
  const { thisUpdate = new Date('2025-12-31T00:00:00Z'), producedAt = thisUpdate } = options;
  const { nextUpdate = new Date('2026-02-01T00:00:00Z'), responseStatus = 0 } = options;
  const code = der(ENUMERATED, Uint8Array.of(responseStatus));
  if (responseStatus !== 0) return sequence(code);
  const responder = options.by ?? (await maker(`${issuer.common} OCSP Responder`));
  const certificates =
    options.certificates ??
    (options.by === undefined
      ? [
          await certify(options.responderIssuer ?? issuer, responder, {
            extensions: options.responderExtensions ?? [keyUsage(0), OCSP_SIGNING, NO_CHECK],
            serial: 99,
            ...options.responderDates,
          }),
        ]
      : []);
  const hash = async (bytes: Uint8Array): Promise<Uint8Array> =>
    options.hash === 'SHA-256'
      ? new Uint8Array(await crypto.subtle.digest('SHA-256', Uint8Array.from(bytes)))
      : sha1(bytes);
  const algorithm = oid(options.hash === 'SHA-256' ? '2.16.840.1.101.3.4.2.1' : '1.3.14.3.2.26');
  const id = sequence(
    sequence(algorithm, der(0x05)),
    octets(await hash(name(issuer.common))),
    octets(await hash(keyBits(issuer))),
    typeof serial === 'number' ? integer(serial) : der(0x02, serial),
  );
  const state = {
    good: der(0x80),
    unknown: der(0x82),
    revoked: der(
      0xa1,
      time(thisUpdate),
      ...(reason === undefined ? [] : [der(0xa0, der(ENUMERATED, Uint8Array.of(reason)))]),
    ),
  }[status];
  const single = sequence(
    id,
    state,
    time(thisUpdate),
    ...(nextUpdate === null ? [] : [der(0xa0, time(nextUpdate))]),
  );
  const extensions = [
    ...(nonce === undefined ? [] : [{ id: '1.3.6.1.5.5.7.48.1.2', value: octets(nonce) }]),
    ...(options.extensions ?? []),
  ];
  const data = sequence(
    byKey ? der(0xa2, octets(sha1(keyBits(responder)))) : der(0xa1, name(responder.common)),
    time(producedAt),
    sequence(single),
    ...(extensions.length === 0 ? [] : [der(0xa1, sequence(...extensions.map(extension)))]),
  );
  const basic = await signed(
    responder,
    data,
    ...(certificates.length === 0 ? [] : [der(0xa0, sequence(...certificates))]),
  );
  return sequence(code, der(0xa0, sequence(oid('1.3.6.1.5.5.7.48.1.1'), octets(basic))));
}

/** A responder that answers for one issuer for long: to look at it several times costs one key. */
export async function responderOf(
  issuer: Maker,
): Promise<(serial: number, options?: OcspOptions) => Promise<Uint8Array>> {
  const by = await maker(`${issuer.common} OCSP Responder`);
  const certificate = await certify(issuer, by, {
    extensions: [keyUsage(0), OCSP_SIGNING, NO_CHECK],
    serial: 99,
  });
  return (serial, options = {}) => ocsp(issuer, serial, { by, certificates: [certificate], ...options });
}

/**
 * Where a certificate says that its revocation can be learnt (RFC 5280, sections 4.2.1.13 and 4.2.2.1): CRLs and OCSP
 * responders, by URL. What cannot be read names no place.
 */
import { VouchError } from '../errors.ts';
import type { Certificate } from './certificate.ts';
import { childrenOf, contextTag, type DerElement, expectTag, oidOf, readDer, TAG } from './der.ts';

const AUTHORITY_ACCESS = '1.3.6.1.5.5.7.1.1';
const OCSP_ACCESS = '1.3.6.1.5.5.7.48.1';
const DISTRIBUTION_POINTS = '2.5.29.31';
/** A GeneralName that is a URL. */
const URL_NAME = contextTag(6, false);
const MAX_URL = 512;
const WHAT = 'revocation';

const urlOf = ({ value }: DerElement): string => String.fromCharCode(...value.subarray(0, MAX_URL));

/** The first OCSP responder that a certificate names; undefined without one. */
export const ocspPlace = ({ extensions }: Certificate): string | undefined =>
  readable(() => {
    const access = extensions.get(AUTHORITY_ACCESS);
    if (access === undefined) return undefined;
    for (const entry of childrenOf(readDer(access.value, WHAT, TAG.sequence), WHAT)) {
      const [method, place] = childrenOf(entry, WHAT);
      if (oidOf(method, WHAT) === OCSP_ACCESS && place?.tag === URL_NAME) return urlOf(place);
    }
    return undefined;
  });

/** The first CRL that a certificate names; undefined without one. */
export const crlPlace = ({ extensions }: Certificate): string | undefined =>
  readable(() => {
    const points = extensions.get(DISTRIBUTION_POINTS);
    if (points === undefined) return undefined;
    for (const point of childrenOf(readDer(points.value, WHAT, TAG.sequence), WHAT)) {
      const [name] = childrenOf(expectTag(point, TAG.sequence, WHAT), WHAT);
      if (name?.tag !== contextTag(0)) continue;
      const full = readDer(name.value, WHAT, contextTag(0));
      const place = childrenOf(full, WHAT).find(({ tag }) => tag === URL_NAME);
      if (place !== undefined) return urlOf(place);
    }
    return undefined;
  });

function readable(read: () => string | undefined): string | undefined {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    return undefined;
  }
}

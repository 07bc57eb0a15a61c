/**
 * An invitation: all that a worker on another host needs, as one word that a person can pass on. It holds a user's seed,
 * so whoever reads it can be that worker until it ends or is revoked: it is a secret, and no part of an error or a log.
 *
 *     vouch-join:<base64url of deterministic CBOR>
 *
 * Nothing of it is signed as a whole: whoever can change it can have its reader join him instead. The JWT inside is
 * signed by the installation, and the NATS server takes no other.
 */
import { z } from 'zod';
import { byteStringBetween, decodeCbor, encodeCbor } from './cbor.ts';
import { base64url, fromBase64url } from './encoding.ts';
import { VouchError } from './errors.ts';

const PREFIX = 'vouch-join:';
const MAX_BYTES = 16 * 1024;

export const Invitation = z.strictObject({
  version: z.literal(1),
  /** the server's URLs, any of which will do */
  servers: z
    .array(z.string().regex(/^(nats|tls):\/\/[A-Za-z0-9.:[\]-]{1,300}$/))
    .min(1)
    .max(64),
  /** the three parts of the user's JWT, which says his role, his id, and when he ends */
  jwt: z.array(byteStringBetween(1, 4096)).length(3),
  /** secret: the seed of his key */
  seed: z.string().regex(/^SU[A-Z2-7]{56}$/),
  /** DER: the authority that certifies the server */
  authority: byteStringBetween(1, 4096),
  /** secret: text of the SIMULATED platform that makes his evidence where there is no TEE */
  platform: z.string().max(4096),
});
export type Invitation = z.infer<typeof Invitation>;

/** Whether a word is meant as an invitation, as opposed to a file that holds one. */
export const isInvitation = (text: string): boolean => text.startsWith(PREFIX);

export const encodeInvitation = (invitation: Invitation): string =>
  PREFIX + base64url(encodeCbor(invitation));

/** Throws `bad-input`; the message quotes nothing of it. */
export function decodeInvitation(text: string): Invitation {
  const word = text.trim();
  try {
    if (!isInvitation(word) || word.length > 2 * MAX_BYTES) throw new Error('no invitation');
    const bytes = fromBase64url(word.slice(PREFIX.length), 'invitation');
    return decodeCbor(bytes, { schema: Invitation, what: 'invitation', maxBytes: MAX_BYTES });
  } catch {
    throw new VouchError(
      'bad-input',
      `invitation: expected what vouch invite printed, whole: ${PREFIX} and what follows it, in one line; ask for a new one`,
    );
  }
}

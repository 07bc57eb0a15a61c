/**
 * Invitations (protocols/invitation.ts): made where the authority's keys are, and kept on the host that joins, in
 * `.vouch/joined/<id>`, as the files that `vouch creds` would have written there.
 */
import { X509Certificate } from 'node:crypto';
import { base64url, fromBase64url, hex, randomBytes } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { decodeInvitation, encodeInvitation } from '../../protocols/invitation.ts';
import { token } from '../../protocols/subjects.ts';
import { issuePlatform } from '../attest/platform.ts';
import { writeWhole } from '../home/files.ts';
import { folder } from '../home/home.ts';
import { credsText, identityOf, pinIn, userIn } from '../nats/creds-file.ts';
import { authority, fileOf, PLATFORM_FILE } from './credentials.ts';

/** A day, like all credentials of an installation that do not say otherwise. */
export const INVITATION_SECONDS = 86_400;

/** An id that nobody has. */
export const freshId = (role: string): string => `${role}-${hex(randomBytes(4))}`;

/**
 * The word that lets a worker join by one of these servers, secret: whoever has it can be the worker `id` for `ttlSeconds`.
 * Throws `bad-token` for an id that is none.
 */
export async function inviteWorker(
  servers: readonly string[],
  { id = freshId('worker'), ttlSeconds = INVITATION_SECONDS }: { id?: string; ttlSeconds?: number } = {},
): Promise<{ readonly id: string; readonly expires: Date; readonly link: string }> {
  const creds = await (await authority()).mintUser('worker', token(id, '--id'), { ttlSeconds });
  const { jwt, seed } = userIn(creds);
  const link = encodeInvitation({
    version: 1,
    servers: [...servers],
    jwt: jwt.split('.').map((part) => fromBase64url(part, 'JWT')),
    seed,
    authority: new Uint8Array(new X509Certificate(pinIn(creds)!).raw),
    platform: await issuePlatform(),
  });
  return { id, expires: identityOf(creds).expires!, link };
}

export interface Joined {
  readonly id: string;
  readonly expires: Date;
  /** as `--nats` takes it */
  readonly url: string;
  /** as `--creds` takes it */
  readonly creds: string;
}

/**
 * Keeps an invitation's contents for the worker that it names. Throws `bad-input` for what is none, `nats-credentials` for
 * one that is over, or is for another role.
 */
export async function acceptInvitation(text: string): Promise<Joined> {
  const { servers, jwt, seed, authority: der, platform } = decodeInvitation(text);
  const creds = credsText({ jwt: jwt.map(base64url).join('.'), seed, pin: pemOf(der) });
  const { id, role, expires } = identityOf(creds);
  if (role !== 'worker' || expires === undefined)
    throw new VouchError(
      'nats-credentials',
      `invitation: expected one for a worker, with an end, got one for ${role ?? 'no role'}`,
    );
  if (expires.getTime() < Date.now())
    throw new VouchError(
      'nats-credentials',
      `invitation of worker ${id}: it ended at ${expires.toISOString()}; ask for a new one (vouch invite worker)`,
    );
  const place = folder('joined', token(id, "the invitation's id"));
  const file = fileOf('worker', id);
  await writeWhole(`${place}/${PLATFORM_FILE}`, platform);
  await writeWhole(`${place}/${file}`, creds);
  return { id, expires, url: servers.join(','), creds: place };
}

function pemOf(der: Uint8Array): string {
  try {
    return new X509Certificate(der).toString();
  } catch {
    throw new VouchError('bad-input', 'invitation: its certificate is none; ask for a new one');
  }
}

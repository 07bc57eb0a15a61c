/**
 * Whom this installation's authority has made credentials for, and whom it has revoked: public parts only, one small
 * file for each user in `.vouch/keys/users`, named `<role>.<id>.<public key>.json`. The entry of a
 * user who was not revoked is forgotten once the credentials have expired; that of one who was stays, so that nobody
 * renews them.
 */
import path from 'node:path';
import { z } from 'zod';
import { VouchError } from '../../protocols/errors.ts';
import { ROLES, type Role } from '../../protocols/subjects.ts';
import { entriesIn, readTextIfThere, removeFile, writeWhole } from '../home/files.ts';

const Entry = z.strictObject({
  /** seconds since 1970 */
  expires: z.int(),
  /** seconds since 1970: what was issued until then is void */
  revoked: z.int().optional(),
});
/** The server's clock may be behind. */
export const SLACK_SECONDS = 86_400;
const NAME = /^([a-z]+)\.([A-Za-z0-9_-]{1,64})\.(U[A-Z2-7]{55})\.json$/;

export interface KnownUser extends z.infer<typeof Entry> {
  readonly role: Role;
  readonly id: string;
  /** public key */
  readonly key: string;
}

const usersIn = (stateDir: string): string => path.join(stateDir, 'keys', 'users');

export function keepUser(stateDir: string, { role, id, key, ...entry }: KnownUser): Promise<void> {
  return writeWhole(path.join(usersIn(stateDir), `${role}.${id}.${key}.json`), JSON.stringify(entry));
}

/** Every user whose credentials may still be good, and all that were revoked. Throws `bad-file`. */
export async function knownUsers(stateDir: string): Promise<KnownUser[]> {
  const folder = usersIn(stateDir);
  const now = Date.now() / 1000;
  const users: KnownUser[] = [];
  for (const { name } of entriesIn(folder, 'users')) {
    const [, role, id, key] = NAME.exec(name) ?? [];
    if (!(ROLES as readonly (string | undefined)[]).includes(role)) continue;
    const file = path.join(folder, name);
    const text = readTextIfThere(file, 'user');
    // Another process may have removed it just now.
    if (text === undefined) continue;
    const user = { role: role as Role, id: id!, key: key!, ...entryOf(text, file) };
    if (user.revoked !== undefined || user.expires + SLACK_SECONDS > now) users.push(user);
    else await removeFile(file);
  }
  return users;
}

function entryOf(text: string, file: string): z.infer<typeof Entry> {
  try {
    return Entry.parse(JSON.parse(text));
  } catch {
    throw new VouchError(
      'bad-file',
      `${file}: expected what Vouch wrote about a user; delete the file and revoke the user's role and id anew`,
    );
  }
}

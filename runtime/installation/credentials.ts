/**
 * NATS credentials of this host, and the folder that another host is given: `<role>_<id>.creds` per actor,
 * the policies it judges others by, and a SIMULATED platform to make evidence with. This installation's own
 * folder, `.vouch/creds`, is filled on demand from the seeds in `.vouch/keys`.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import type { SimulatedPlatform } from '../../protocols/attestation/formats/simulated.ts';
import { parse } from '../../protocols/envelope.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { RequesterAuthority } from '../../protocols/requester.ts';
import { ROLES, type Role, token } from '../../protocols/subjects.ts';
import { issuePlatform, readPlatform } from '../attest/platform.ts';
import { hasSimulatedRoot } from '../attest/simulated-root.ts';
import { demandWritableFolder, entriesIn, readText, readTextIfThere, writeWhole } from '../home/files.ts';
import { folder } from '../home/home.ts';
import { identityOf, pinIn } from '../nats/creds-file.ts';
import { type Authority, ensureAuthority } from './authority.ts';
import { type PolicyName, policyFile, writePolicies } from './policies.ts';

export const PLATFORM_FILE = 'simulated-platform.json';
const REQUESTERS_FILE = 'requesters.json';
const DAY_SECONDS = 86_400;
/** Of what this installation makes for itself; renewed when half of it is over. */
const OWN_LIFE_MS = DAY_SECONDS * 1000;
const MAX_CREDS_BYTES = 64 * 1024;

/** What a role needs on another host besides its credentials. */
const NEEDS: Partial<
  Record<Role, { policies?: readonly PolicyName[]; platform?: boolean; requesters?: boolean }>
> = {
  client: { policies: ['inference', 'prover'] },
  // The runner's identity is its enclave's.
  enclave: { policies: ['inference'], platform: true },
  worker: { platform: true },
  coordinator: { policies: ['worker'], platform: true, requesters: true },
  broker: { requesters: true },
};

let ours: Promise<Authority> | undefined;
/** This installation's NATS authority, made on first use. */
export function authority(): Promise<Authority> {
  ours ??= ensureAuthority(folder());
  return ours;
}

const ownFolder = (): string => folder('creds');
const isOwn = (from: string): boolean => path.resolve(from) === ownFolder();
export const fileOf = (role: Role, id: string): string => `${token(role, 'role')}_${token(id, 'id')}.creds`;

/** The folder that `--creds` means: a `.creds` file stands for the folder it lies in. */
export const kitOf = (from: string): string => (from.endsWith('.creds') ? path.dirname(from) : from);

/**
 * The text of one actor's credentials: a `.creds` file made for it, `<role>_<id>.creds` in a folder, or minted when the
 * folder is this installation's own. There they live for a day and are renewed when half of it is over; elsewhere whoever
 * made them puts newer ones into the file. Throws `nats-credentials`, also for a user that was revoked.
 */
export async function credentials(role: Role, id: string, from: string): Promise<string> {
  const file = from.endsWith('.creds') ? from : path.join(from, fileOf(role, id));
  const known = readTextIfThere(file, 'credentials', MAX_CREDS_BYTES);
  if (known !== undefined) {
    const who = identityOf(known);
    if (who.id === id && (who.role ?? role) === role) {
      const left = (who.expires?.getTime() ?? 0) - Date.now();
      // Those of before there was TLS name no authority.
      if (!isOwn(path.dirname(file)) || (left > OWN_LIFE_MS / 2 && pinIn(known))) return known;
      const renewed = await (await authority()).renewUser(known);
      await writeWhole(file, renewed);
      return renewed;
    }
    // One file was named for several roles: the others lie beside it.
    if (from.endsWith('.creds') && who.role !== role) return credentials(role, id, kitOf(from));
    throw new VouchError(
      'nats-credentials',
      `credentials ${file}: they are of ${who.role ?? 'an unknown role'} ${who.id}, expected ${role} ${id}; --id says which`,
    );
  }
  if (!isOwn(from)) {
    throw new VouchError(
      'nats-credentials',
      `credentials ${file}: there is no such file; where npm start runs, make it with: vouch creds ${role} --id ${id} --out FOLDER`,
    );
  }
  const text = await (await authority()).mintUser(role, id);
  await writeWhole(file, text);
  return text;
}

/** The id that the credentials at `from` are for, when they leave no choice. */
export function idIn(from: string, role: Role): string | undefined {
  if (from.endsWith('.creds')) {
    const text = readTextIfThere(from, 'credentials', MAX_CREDS_BYTES);
    return text === undefined ? undefined : identityOf(text).id;
  }
  if (isOwn(from)) return undefined;
  const ids = entriesIn(from, 'credentials')
    .map(({ name }) => name)
    .filter((name) => name.startsWith(`${role}_`) && name.endsWith('.creds'));
  return ids.length === 1 ? ids[0]!.slice(role.length + 1, -'.creds'.length) : undefined;
}

/**
 * The SIMULATED platform that lies beside the credentials; undefined on the installation's own host, which
 * certifies its own. Throws `bad-file` where there is neither: nobody would accept a root made up here.
 */
export async function platformIn(from: string): Promise<SimulatedPlatform | undefined> {
  const file = path.join(kitOf(from), PLATFORM_FILE);
  if (existsSync(file)) return readPlatform(file);
  if (isOwn(kitOf(from)) || hasSimulatedRoot()) return undefined;
  throw new VouchError(
    'bad-file',
    `simulated platform ${file}: there is no such file; it comes with the credentials that vouch creds makes`,
  );
}

/**
 * Whose clients may ask whoever uses these credentials: the file that came with them, or this installation's own
 * authority. Throws `bad-file`.
 */
export async function requestersIn(from: string): Promise<RequesterAuthority> {
  const file = path.join(kitOf(from), REQUESTERS_FILE);
  const text = readTextIfThere(file, 'requesters', MAX_CREDS_BYTES);
  if (text === undefined && isOwn(kitOf(from))) return (await authority()).requesters;
  if (text === undefined) {
    throw new VouchError(
      'bad-file',
      `requesters ${file}: there is no such file; it comes with the credentials that vouch creds makes`,
    );
  }
  try {
    return parse(RequesterAuthority, JSON.parse(text), 'requesters');
  } catch (error) {
    throw new VouchError('bad-file', `requesters ${file}: ${messageOf(error)}`);
  }
}

/** Writes what actors of these roles need on another host into the folder `out`. Returns the files' paths. */
export async function writeKit(
  roles: readonly string[],
  { id, out, days }: { id: string; out: string; days: number },
): Promise<string[]> {
  for (const role of roles) {
    if (!(ROLES as readonly string[]).includes(role))
      throw new VouchError('bad-input', `creds: expected roles among ${ROLES.join(', ')}, got ${role}`);
  }
  token(id, '--id');
  await demandWritableFolder(out);
  const known = roles as readonly Role[];
  const files = new Map<string, string>();
  for (const role of known) {
    const ttlSeconds = days * DAY_SECONDS;
    files.set(fileOf(role, id), await (await authority()).mintUser(role, id, { ttlSeconds }));
  }
  const needs = known.map((role) => NEEDS[role]);
  if (needs.some((need) => need?.platform)) files.set(PLATFORM_FILE, await issuePlatform());
  if (needs.some((need) => need?.requesters))
    files.set(REQUESTERS_FILE, `${JSON.stringify((await authority()).requesters, null, 2)}\n`);
  const policies = needs.flatMap((need) => need?.policies ?? []);
  if (policies.length > 0) await writePolicies();
  for (const name of policies)
    files.set(path.join('policies', `${name}.json`), readText(policyFile(name), 'policy'));
  for (const [name, text] of files) await writeWhole(path.join(out, name), text);
  return [...files.keys()].map((name) => path.join(out, name));
}

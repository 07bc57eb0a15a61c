/**
 * The NATS authority: an operator, its system account, the two accounts of rights.ts, and one scoped signing key
 * per role (nats-server, "JWT authentication" and "Scoped Signing Keys"). Credentials are minted offline; what
 * they may do is written in rights.ts and enforced by the server.
 *
 * The seeds lie in one file, mode 0600, and never leave it; `authority.conf` holds public parts only. Whoever
 * can read the seeds can be anyone. Credentials end by themselves; `revoke` ends them earlier, at once on a server that is
 * told (revocation.ts), on others from their next start on.
 */
import { join } from 'node:path';
import {
  Algorithms,
  createAccount,
  createOperator,
  createUser,
  encodeAccount,
  encodeOperator,
  encodeUser,
  fromSeed,
  newScopedSigner,
  parseCreds,
} from 'nats-jwt';
import { z } from 'zod';
import { VouchError } from '../../protocols/errors.ts';
import type { RequesterAuthority } from '../../protocols/requester.ts';
import { ROLES, type Role, token } from '../../protocols/subjects.ts';
import { createWhole, readTextIfThere, writeWhole } from '../home/files.ts';
import { credsText } from '../nats/creds-file.ts';
import { crossings, INNER_ROLES, inboxPrefix, rightsOf } from '../nats/rights.ts';
import { ensureTlsAuthority } from './tls-authority.ts';
import { type KnownUser, keepUser, knownUsers, SLACK_SECONDS } from './users.ts';

const Seed = z.string().regex(/^S[OA][A-Z2-7]{56}$/);
const SeedFile = z.object({
  version: z.literal(1),
  operator: Seed,
  system: Seed,
  /** the account that has the streams */
  inner: Seed,
  /** the account of all other actors */
  outer: Seed,
  signing: z.partialRecord(z.enum(ROLES), Seed),
});
type SeedFile = z.infer<typeof SeedFile>;

export interface Authority {
  /** how others know a client of this installation by what he signs */
  readonly requesters: RequesterAuthority;
  /** Credentials (the text of a `.creds` file, secret) for one actor. `id` must be a subject token. */
  mintUser(role: Role, id: string, options?: Life): Promise<string>;
  /**
   * The same user's credentials for another while. Throws `nats-credentials` for a user that was revoked, or is of
   * another installation.
   */
  renewUser(creds: string, options?: Life): Promise<string>;
  /**
   * Voids what was issued to this id until now, in one role or in all, and writes it into `authority.conf`. Returns
   * whom it struck.
   */
  revoke(id: string, role?: Role): Promise<readonly KnownUser[]>;
  /** The accounts as they are now, revocations included: what a running server has to know. */
  accounts(): Promise<readonly SignedAccount[]>;
  /** Credentials that can tell a server so, and nothing else; good for a minute. */
  mintHerald(): Promise<string>;
}

export interface SignedAccount {
  /** public key */
  readonly key: string;
  readonly jwt: string;
}

export interface Life {
  /** default 24 h */
  readonly ttlSeconds?: number;
}

const DAY_SECONDS = 86_400;
/** What one user may have at once: subscriptions, and bytes in a message; the server cuts off who takes more. */
const SUBSCRIPTIONS = 512;
const PAYLOAD_BYTES = 2 * 1024 * 1024;
/** Bulk goes through these: shards, and whatever a model has. */
const UNLIMITED_PAYLOAD: readonly Role[] = ['coordinator', 'provisioner'];
/** Connections of the outer account; nats.conf leaves room above for the inner one. */
const OUTER_CONNECTIONS = 4000;

/**
 * Reads the seeds in `<stateDir>/keys`, or makes them on first use, and writes `<stateDir>/nats/authority.conf` for
 * the server. Throws `bad-file` when the seeds are there but unreadable: they are never replaced silently.
 */
export async function ensureAuthority(stateDir: string): Promise<Authority> {
  const seeds = await ensureSeeds(join(stateDir, 'keys', 'authority.json'));
  const text = new TextEncoder();
  const pair = (seed: string) => fromSeed(text.encode(seed));
  const [operator, system] = [pair(seeds.operator), pair(seeds.system)];
  const [inner, outer] = [pair(seeds.inner), pair(seeds.outer)];
  // Each call multiplies a curve point in plain JavaScript.
  const [systemKey, innerKey, outerKey] = [system, inner, outer].map((account) => account.getPublicKey()) as [
    string,
    string,
    string,
  ];
  const signing = new Map<string, ReturnType<typeof pair>>(
    Object.entries(seeds.signing).map(([role, seed]) => [role, pair(seed)]),
  );
  const signers = (roles: readonly Role[]) =>
    roles.map((role) => {
      const { publish, subscribe } = rightsOf(role);
      return newScopedSigner(signing.get(role)!, role, {
        subs: SUBSCRIPTIONS,
        payload: UNLIMITED_PAYLOAD.includes(role) ? -1 : PAYLOAD_BYTES,
        pub: { allow: [...publish], deny: [] },
        sub: { allow: [...subscribe], deny: [] },
      });
    });

  const { inward, asked, seen } = crossings();
  const from = (account: string, type: 'service' | 'stream') => (subject: string) => ({
    name: subject,
    subject,
    account,
    type,
  });
  const exporting = (type: 'service' | 'stream') => (subject: string) => ({ name: subject, subject, type });
  const limits = {
    conn: -1,
    leaf: 0,
    imports: -1,
    exports: -1,
    data: -1,
    payload: -1,
    subs: -1,
    wildcards: true,
  };
  const v2 = { algorithm: Algorithms.v2 };
  const signed = { ...v2, signer: operator };
  const operatorJwt = await encodeOperator('vouch', operator, { system_account: systemKey }, v2);
  const systemJwt = await encodeAccount('SYS', system, { limits }, signed);
  const accounts = async (): Promise<[SignedAccount, SignedAccount]> => {
    const now = Date.now() / 1000;
    const revoked = (await knownUsers(stateDir)).filter(
      (user) => user.revoked !== undefined && user.expires + SLACK_SECONDS > now,
    );
    const of = (within: (role: Role) => boolean) => ({
      revocations: Object.fromEntries(
        revoked.filter(({ role }) => within(role)).map((user) => [user.key, user.revoked!]),
      ),
    });
    const innerJwt = await encodeAccount(
      'streams',
      inner,
      {
        ...of(isInner),
        limits: { ...limits, mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 },
        signing_keys: signers(INNER_ROLES),
        // One export for everything: rights.ts says why. The imports below decide what is reached.
        exports: [exporting('service')('>'), ...seen.map(exporting('stream'))],
        imports: asked.map(from(outerKey, 'service')),
      },
      signed,
    );
    const outerJwt = await encodeAccount(
      'actors',
      outer,
      {
        ...of((role) => !isInner(role)),
        limits: { ...limits, conn: OUTER_CONNECTIONS },
        signing_keys: signers(ROLES.filter((role) => !isInner(role))),
        exports: asked.map(exporting('service')),
        imports: [
          ...inward.map(({ subject, as }) => ({ ...from(innerKey, 'service')(as), local_subject: subject })),
          ...seen.map(from(innerKey, 'stream')),
        ],
      },
      signed,
    );
    return [
      { key: innerKey, jwt: innerJwt },
      { key: outerKey, jwt: outerJwt },
    ];
  };
  const writeConf = async (): Promise<void> => {
    const lines = (await accounts()).map(({ key, jwt }) => `  ${key}: ${jwt}`);
    await writeWhole(
      join(stateDir, 'nats', 'authority.conf'),
      [
        '# Written by Vouch from .vouch/keys at every start. Public parts only.',
        `operator: ${operatorJwt}`,
        `system_account: ${systemKey}`,
        'resolver: MEMORY',
        'resolver_preload: {',
        `  ${systemKey}: ${systemJwt}`,
        ...lines,
        '}',
        '',
      ].join('\n'),
    );
  };
  await writeConf();

  /** The text of a `.creds` file, with the authority that certifies this installation's servers. */
  const credsOf = async (jwt: string, user: ReturnType<typeof createUser>): Promise<string> =>
    credsText({
      jwt,
      seed: new TextDecoder().decode(user.getSeed()),
      pin: (await ensureTlsAuthority(stateDir)).certificate,
    });

  const issue = async (
    role: Role,
    id: string,
    user: ReturnType<typeof createUser>,
    { ttlSeconds = DAY_SECONDS }: Life,
  ): Promise<string> => {
    const signer = signing.get(role);
    if (signer === undefined)
      throw new TypeError(`role: expected one of ${ROLES.join(', ')}, got ${String(role)}`);
    const expires = Math.floor(Date.now() / 1000) + ttlSeconds;
    const jwt = await encodeUser(
      token(id, `${role} id`),
      user,
      isInner(role) ? innerKey : outerKey,
      // The role is written down for whoever connects (its inbox); the rights come from the signer alone.
      { tags: [`role:${role}`] },
      { ...v2, signer, scopedUser: true, exp: expires },
    );
    // Known first: what nobody knows of cannot be revoked.
    await keepUser(stateDir, { role, id, key: user.getPublicKey(), expires });
    return credsOf(jwt, user);
  };

  return {
    requesters: { account: outerKey, signer: signing.get('client')!.getPublicKey() },
    mintUser: (role, id, life = {}) => issue(role, id, createUser(), life),
    async renewUser(creds, life = {}) {
      const { key: seed, uc } = await parseCreds(text.encode(creds));
      const user = pair(seed);
      const role = ROLES.find((name) => signing.get(name)?.getPublicKey() === uc.iss);
      if (role === undefined) {
        throw new VouchError(
          'nats-credentials',
          'NATS credentials: they are not of this installation; make new ones with vouch creds',
        );
      }
      const key = user.getPublicKey();
      const known = (await knownUsers(stateDir)).find((one) => one.key === key);
      if (known?.revoked !== undefined) {
        throw new VouchError(
          'nats-credentials',
          `NATS credentials of ${role} ${uc.name}: they were revoked; delete their file to make new ones, if it shall come back`,
        );
      }
      return issue(role, uc.name, user, life);
    },
    async revoke(id, role) {
      const now = Math.floor(Date.now() / 1000);
      const struck = (await knownUsers(stateDir)).filter(
        (user) => user.id === id && (role === undefined || user.role === role),
      );
      for (const user of struck) await keepUser(stateDir, { ...user, revoked: now });
      if (struck.length > 0) await writeConf();
      return struck;
    },
    accounts,
    async mintHerald() {
      const user = createUser();
      const rights = {
        pub: { allow: [accountUpdate('*')], deny: [] },
        sub: { allow: [`${inboxPrefix(HERALD, HERALD)}.>`], deny: [] },
      };
      const exp = Math.floor(Date.now() / 1000) + HERALD_SECONDS;
      const jwt = await encodeUser(
        HERALD,
        user,
        system,
        { ...rights, tags: [`role:${HERALD}`] },
        { ...v2, exp },
      );
      return credsOf(jwt, user);
    },
  };
}

/** Where a server takes a newer JWT of an account (nats-server, "System account"), whatever its resolver. */
export const accountUpdate = (account: string): string => `$SYS.REQ.ACCOUNT.${account}.CLAIMS.UPDATE`;
const HERALD = 'herald';
const HERALD_SECONDS = 60;

const isInner = (role: Role): boolean => INNER_ROLES.includes(role);

async function ensureSeeds(path: string): Promise<SeedFile> {
  const existing = readSeeds(path);
  if (existing !== undefined && ROLES.every((role) => existing.signing[role] !== undefined)) return existing;
  const seed = (pair: { getSeed(): Uint8Array }) => new TextDecoder().decode(pair.getSeed());
  const seeds: SeedFile = existing ?? {
    version: 1,
    operator: seed(createOperator()),
    system: seed(createAccount()),
    inner: seed(createAccount()),
    outer: seed(createAccount()),
    signing: {},
  };
  for (const role of ROLES) seeds.signing[role] ??= seed(createAccount());
  const write = existing === undefined ? createWhole : writeWhole;
  await write(path, `${JSON.stringify(seeds, null, 2)}\n`);
  // Another process may have been first: what lies there now counts.
  return readSeeds(path) ?? seeds;
}

function readSeeds(path: string): SeedFile | undefined {
  const content = readTextIfThere(path, 'NATS seeds');
  if (content === undefined) return undefined;
  try {
    return SeedFile.parse(JSON.parse(content));
  } catch {
    throw new VouchError(
      'bad-file',
      `${path}: expected the NATS seeds that Vouch wrote; restore the file, or delete it and all credentials made from it`,
    );
  }
}

/**
 * The NATS authority: an operator, its system account, the two accounts of rights.ts, and one scoped signing key
 * per role (nats-server, "JWT authentication" and "Scoped Signing Keys"). Credentials are minted offline; what
 * they may do is written in rights.ts and enforced by the server.
 *
 * The seeds lie in one file, mode 0600, and never leave it; `authority.conf` holds public parts only. Whoever
 * can read the seeds can be anyone. A minted credential cannot be revoked here; give it a `ttlSeconds`.
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
  fmtCreds,
  fromSeed,
  newScopedSigner,
} from 'nats-jwt';
import { z } from 'zod';
import { VouchError } from '../../protocols/errors.ts';
import type { RequesterAuthority } from '../../protocols/requester.ts';
import { ROLES, type Role, token } from '../../protocols/subjects.ts';
import { createWhole, readTextIfThere, writeWhole } from '../home/files.ts';
import { crossings, INNER_ROLES, rightsOf } from '../nats/rights.ts';

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
  /**
   * Credentials (the text of a `.creds` file, secret) for one actor. `id` must be a subject token; without
   * `ttlSeconds` they do not expire.
   */
  mintUser(role: Role, id: string, options?: { ttlSeconds?: number }): Promise<string>;
}

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
  const innerJwt = await encodeAccount(
    'streams',
    inner,
    {
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
      limits,
      signing_keys: signers(ROLES.filter((role) => !INNER_ROLES.includes(role))),
      exports: asked.map(exporting('service')),
      imports: [
        ...inward.map(({ subject, as }) => ({ ...from(innerKey, 'service')(as), local_subject: subject })),
        ...seen.map(from(innerKey, 'stream')),
      ],
    },
    signed,
  );
  await writeWhole(
    join(stateDir, 'nats', 'authority.conf'),
    [
      '# Written by Vouch from .vouch/keys at every start. Public parts only.',
      `operator: ${operatorJwt}`,
      `system_account: ${systemKey}`,
      'resolver: MEMORY',
      'resolver_preload: {',
      `  ${systemKey}: ${systemJwt}`,
      `  ${innerKey}: ${innerJwt}`,
      `  ${outerKey}: ${outerJwt}`,
      '}',
      '',
    ].join('\n'),
  );

  return {
    requesters: { account: outerKey, signer: signing.get('client')!.getPublicKey() },
    async mintUser(role, id, options = {}) {
      const signer = signing.get(role);
      if (signer === undefined)
        throw new TypeError(`role: expected one of ${ROLES.join(', ')}, got ${String(role)}`);
      const user = createUser();
      const jwt = await encodeUser(
        token(id, `${role} id`),
        user,
        INNER_ROLES.includes(role) ? innerKey : outerKey,
        // The role is written down for whoever connects (its inbox); the rights come from the signer alone.
        { tags: [`role:${role}`] },
        {
          ...v2,
          signer,
          scopedUser: true,
          ...(options.ttlSeconds === undefined
            ? {}
            : { exp: Math.floor(Date.now() / 1000) + options.ttlSeconds }),
        },
      );
      return new TextDecoder().decode(fmtCreds(jwt, user));
    },
  };
}

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

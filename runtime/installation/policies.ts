/**
 * What this installation demands of evidence, and where it is written down. An installation's own policies
 * accept its own SIMULATED processes that run this very code, and nothing else; a person may pass another file.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { SIMULATED } from '../../protocols/attestation/formats/simulated.ts';
import { BUILT_IN, type Policy, parsePolicy } from '../../protocols/attestation/policy.ts';
import { VouchError } from '../../protocols/errors.ts';
import type { Role } from '../../protocols/subjects.ts';
import { measure } from '../attest/measurement.ts';
import { simulatedRoot } from '../attest/simulated-root.ts';
import { readTextIfThere, writeWhole } from '../home/files.ts';
import { folder } from '../home/home.ts';

/** Policy -> the roles whose evidence it judges, and whether that evidence names a model. */
const JUDGED = {
  /** a client's, of who answers it */
  inference: { roles: ['runner'], model: true },
  /** a client's, of who made a proof */
  prover: { roles: ['coordinator'], model: true },
  /** a coordinator's, of who gets shards */
  worker: { roles: ['worker'], model: false },
  /** a vendor's, of who gets the model's key */
  release: { roles: ['runner', 'coordinator'], model: true },
} as const satisfies Record<string, { roles: readonly Role[]; model: boolean }>;
const MAX_POLICY_BYTES = 1024 * 1024;
export type PolicyName = keyof typeof JUDGED;
export const POLICIES = Object.keys(JUDGED) as PolicyName[];

/** This installation's policies, written to `.vouch/policies` as well. */
export async function writePolicies(): Promise<Record<PolicyName, Policy>> {
  const { fingerprint } = await simulatedRoot();
  const policies = Object.fromEntries(
    Object.entries(JUDGED).map(([name, { roles, model }]): [string, Policy] => [
      name,
      parsePolicy({
        version: 1,
        platforms: [SIMULATED],
        measurements: roles.map(measure),
        minimumTcb: { [SIMULATED]: [1] },
        debug: false,
        maxAgeSeconds: 300,
        simulated: true,
        simulatedRoots: [fingerprint],
        requiredBinding: [
          'nonce',
          'hpkeKey',
          'receiptKey',
          'enclave',
          ...(model ? (['modelCommitment'] as const) : []),
        ],
      }),
    ]),
  ) as Record<PolicyName, Policy>;
  for (const name of POLICIES) {
    await writeWhole(policyFile(name), `${JSON.stringify(policies[name], null, 2)}\n`);
  }
  return policies;
}

export const policyFile = (name: PolicyName): string => folder('policies', `${name}.json`);

/**
 * The policy a command uses: the one that a person named, else the one beside the credentials, else this installation's.
 * `otherwise`: what is taken where an installation has none yet.
 */
export function findPolicy(
  name: PolicyName,
  given: string | undefined,
  kit: string,
  otherwise?: Policy,
): Policy {
  if (given !== undefined) return readPolicy(given);
  const beside = path.join(kit, 'policies', `${name}.json`);
  const file = existsSync(beside) ? beside : policyFile(name);
  return otherwise !== undefined && !existsSync(file) ? otherwise : readPolicy(file);
}

/** A policy as every command's `--policy` names it: `genuine`, `strict`, or a file. Throws `bad-file`. */
export function readPolicy(file: string): Policy {
  if (file === 'genuine' || file === 'strict') return BUILT_IN[file];
  const text = readTextIfThere(file, 'policy', MAX_POLICY_BYTES);
  if (text === undefined) {
    throw new VouchError(
      'bad-file',
      `policy ${file}: there is no such file; npm start writes it, vouch creds does for another host, --policy names another`,
    );
  }
  try {
    return parsePolicy(JSON.parse(text));
  } catch (error) {
    const reason = error instanceof VouchError ? error.message : 'expected JSON';
    throw new VouchError('bad-file', `policy ${file}: ${reason}`);
  }
}

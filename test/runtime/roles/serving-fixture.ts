/** A vendor's model, served by a runner in a SIMULATED enclave over a nats-server of its own. */
import type { CommittedModel } from '../../../circuits/model/commit.ts';
import type { Policy } from '../../../protocols/attestation/policy.ts';
import { DEFAULT_TERMS, type Terms } from '../../../protocols/terms.ts';
import { folder } from '../../../runtime/home/home.ts';
import { authority, credentials } from '../../../runtime/installation/credentials.ts';
import { type PolicyName, writePolicies } from '../../../runtime/installation/policies.ts';
import { publishModel } from '../../../runtime/models/publish.ts';
import { vendorName, vendorSigner } from '../../../runtime/models/vendor-key.ts';
import { connect } from '../../../runtime/nats/connect.ts';
import { provision } from '../../../runtime/nats/provision.ts';
import { type NatsServerOptions, startNats } from '../../../runtime/nats/server.ts';
import { startRoles, stopRoles } from '../../../runtime/roles/start.ts';
import { smallModel } from '../../circuits/model-fixture.ts';
import type { TestContext } from '../../harness.ts';
import { BIN_DIR, temporaryFolder } from '../nats/nats-fixture.ts';

export const MODEL = 'tiny';
export const ENCLAVE = 'enclave-1';

export interface Serving {
  readonly url: string;
  readonly websocket: string | undefined;
  readonly model: CommittedModel;
  readonly policies: Record<PolicyName, Policy>;
  /** the vendor's fingerprint */
  readonly vendor: string;
}

/** `release`: what the vendor demands beyond this installation's policy before the model's key leaves. */
export async function serving(
  t: TestContext,
  release: Partial<Policy> = {},
  terms: Terms = DEFAULT_TERMS,
  serverOptions: Partial<NatsServerOptions> = {},
): Promise<Serving> {
  const before = process.env.VOUCH_HOME;
  process.env.VOUCH_HOME = await temporaryFolder(t);
  t.defer(() => {
    if (before === undefined) delete process.env.VOUCH_HOME;
    else process.env.VOUCH_HOME = before;
  });
  await authority();
  const server = await startNats({
    stateDir: folder(),
    binDir: BIN_DIR,
    port: 0,
    onLog: () => {},
    ...serverOptions,
  });
  t.defer(() => server.stop());
  const { url } = server;
  const vendor = await connect({ url, creds: await credentials('provisioner', 'vendor', folder('creds')) });
  t.defer(() => vendor.close());
  await provision(vendor);
  const policies = await writePolicies();
  const model = smallModel({ units: [4, 3, 2] });
  const policy = { ...policies.release, ...release };
  await publishModel(vendor, 'provisioner.vendor', { name: MODEL, model, policy, terms });
  const { fingerprint } = vendorName(await vendorSigner());
  const roles = await startRoles(['broker', 'runner', 'gpu', 'enclave'], {
    url,
    creds: folder('creds'),
    id: ENCLAVE,
    model: MODEL,
    log: () => {},
  });
  t.defer(() => stopRoles(roles, () => {}));
  return { url, websocket: server.websocket, model, policies, vendor: fingerprint };
}

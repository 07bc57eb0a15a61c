/**
 * Makes a home as some version of the code does it: keys, credentials, policies, a served model, kept and stored receipts. It is
 * run by that version, from its own tree (upgrade.slow.test.ts), so it uses only what that version has as well.
 *
 *   VOUCH_HOME=FOLDER BIN_DIR=FOLDER node previous-home.ts
 */
import { infer, verifyService } from '../../../runtime/client/client.ts';
import { keepDecision } from '../../../runtime/client/decisions.ts';
import { folder } from '../../../runtime/home/home.ts';
import { authority, credentials } from '../../../runtime/installation/credentials.ts';
import { writePolicies } from '../../../runtime/installation/policies.ts';
import { publishModel } from '../../../runtime/models/publish.ts';
import { connect } from '../../../runtime/nats/connect.ts';
import { provision } from '../../../runtime/nats/provision.ts';
import { startNats } from '../../../runtime/nats/server.ts';
import { startRoles, stopRoles } from '../../../runtime/roles/start.ts';
import { smallModel } from '../../circuits/model-fixture.ts';

const MODEL = 'tiny';
const ROWS = [
  ['7', '-1', '4', '11'],
  ['0', '12', '-3', '5'],
];

await authority();
const server = await startNats({
  stateDir: folder(),
  binDir: process.env.BIN_DIR!,
  port: 0,
  onLog: () => {},
});
const open = async (role: 'provisioner' | 'client', id: string) =>
  connect({ url: server.url, creds: await credentials(role, id, folder('creds')) });
const vendor = await open('provisioner', 'vendor');
await provision(vendor);
const policies = await writePolicies();
const model = smallModel({ units: [4, 3, 2] });
await publishModel(vendor, 'provisioner.vendor', { name: MODEL, model, policy: policies.release });
const roles = await startRoles(['broker', 'runner', 'gpu', 'enclave'], {
  url: server.url,
  creds: folder('creds'),
  id: 'enclave-1',
  model: MODEL,
  log: () => {},
});
const client = await open('client', 'one');
const service = await verifyService(client, 'client.one', MODEL, policies.inference);
for (const row of ROWS)
  await keepDecision(
    folder('receipts'),
    service,
    row,
    await infer(client, 'client.one', service, policies.inference, row),
  );
await stopRoles(roles, () => {});
await client.close();
await vendor.close();
await server.stop();
process.exit();

/**
 * `vouch model add`: publishes a vendor's own ONNX file for data of the demonstration's format. The same way as the
 * demonstration's model: quantised, committed, sealed, its key given to this host's key-broker.
 */
import { token } from '../../protocols/subjects.ts';
import { connect } from '../bus.ts';
import { readNamed } from '../context.ts';
import { credentials, idIn } from '../credentials.ts';
import { commitOnnx } from '../demo/vendor.ts';
import { publishModel } from '../models.ts';
import { writePolicies } from '../policies.ts';
import { readRows } from '../test-sets.ts';
import type { Network, Print } from './network.ts';

const MAX_ONNX_BYTES = 64 * 1024 * 1024;
const PROVISIONER = 'host-1';

export async function addModelCommand(
  name: string,
  file: string,
  options: Network & { data: string; json: boolean },
  print: Print,
): Promise<void> {
  token(name, 'model');
  const onnx = readNamed(file, 'ONNX', MAX_ONNX_BYTES);
  const made = await commitOnnx(name, onnx, readRows(options.data));
  const id = idIn(options.creds, 'provisioner') ?? PROVISIONER;
  const bus = await connect({
    url: options.url,
    creds: await credentials('provisioner', id, options.creds),
  });
  try {
    const { release } = await writePolicies();
    const { commitment } = await publishModel(bus, `provisioner.${id}`, {
      name,
      model: made.model,
      policy: release,
    });
    const { correct, baseline, testSet } = made;
    const rows = testSet.labels.length;
    if (options.json) print({ name, commitment, rows, correct, baseline });
    else {
      print(
        `${name}\tcommitment ${commitment}\t${correct} of ${rows} test rows, a constant answer ${baseline}`,
      );
    }
  } finally {
    await bus.close();
  }
}

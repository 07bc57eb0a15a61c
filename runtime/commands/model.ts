/**
 * `vouch model add`: publishes a vendor's own ONNX file for data of the demonstration's format. The same way as the
 * demonstration's model: quantised, committed, sealed, its key given to this host's key-broker, or split over several.
 */
import { token } from '../../protocols/subjects.ts';
import { readNamed } from '../home/files.ts';
import { credentials, idIn } from '../installation/credentials.ts';
import { writePolicies } from '../installation/policies.ts';
import { parseSplit, publishModel } from '../models/publish.ts';
import { readRows } from '../models/test-sets.ts';
import { commitOnnx } from '../models/vendor.ts';
import { connect } from '../nats/connect.ts';
import type { Network, Print } from './network.ts';

const MAX_ONNX_BYTES = 64 * 1024 * 1024;
const PROVISIONER = 'host-1';

export async function addModelCommand(
  name: string,
  file: string,
  options: Network & { data: string; brokers?: string; json: boolean },
  print: Print,
): Promise<void> {
  token(name, 'model');
  const split = parseSplit(options.brokers ?? '1/1');
  const onnx = readNamed(file, 'ONNX', MAX_ONNX_BYTES);
  const made = await commitOnnx(name, onnx, readRows(options.data));
  const id = idIn(options.creds, 'provisioner') ?? PROVISIONER;
  const bus = await connect({
    url: options.url,
    creds: await credentials('provisioner', id, options.creds),
  });
  try {
    const { release } = await writePolicies();
    const { commitment, shares } = await publishModel(bus, `provisioner.${id}`, {
      name,
      model: made.model,
      policy: release,
      split,
    });
    const { correct, baseline, testSet } = made;
    const rows = testSet.labels.length;
    const held = shares && `${shares.threshold} of ${shares.brokers.map((each) => each.id).join(', ')}`;
    if (options.json) print({ name, commitment, rows, correct, baseline, ...(shares ? { shares } : {}) });
    else {
      print(
        `${name}\tcommitment ${commitment}\t${correct} of ${rows} test rows, a constant answer ${baseline}${held ? `\tkey with ${held}` : ''}`,
      );
    }
  } finally {
    await bus.close();
  }
}

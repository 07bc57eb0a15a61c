/**
 * One `npm start` per `.vouch`: the file `running` holds the process id of the one that uses the folder. A file
 * that a killed process left behind is taken over.
 */
import { VouchError } from '../../protocols/errors.ts';
import { createWhole, readTextIfThere, removeFile } from '../home/files.ts';
import { folder, vouchHome } from '../home/home.ts';
import { commandOf } from '../nats/server.ts';

/** Claims the folder and returns the way to give it back. Throws `busy` while another process has it. */
export async function claimHome(): Promise<() => Promise<void>> {
  const file = folder('running');
  for (;;) {
    if (await createWhole(file, `${process.pid}\n`)) return () => removeFile(file);
    const pid = Number.parseInt(readTextIfThere(file, 'lock') ?? '', 10);
    // Another process may have got the number of one that was killed.
    if (pid > 0 && pid !== process.pid && / demo\b/.test((await commandOf(pid)).replaceAll('\0', ' '))) {
      throw new VouchError(
        'busy',
        `another npm start (process ${pid}) uses ${vouchHome()}: stop it first, or set VOUCH_HOME to another folder`,
      );
    }
    await removeFile(file);
  }
}

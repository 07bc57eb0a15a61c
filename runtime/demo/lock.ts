/**
 * One `npm start` per `.vouch`: the file `running` holds the process id of the one that uses the folder. A file
 * that a killed process left behind is taken over.
 */
import { readFileSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { VouchError } from '../../protocols/errors.ts';
import { folder, vouchHome } from '../home/home.ts';
import { commandOf } from '../nats/server.ts';

/** Claims the folder and returns the way to give it back. Throws `busy` while another process has it. */
export async function claimHome(): Promise<() => Promise<void>> {
  const file = folder('running');
  await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
  for (;;) {
    try {
      await writeFile(file, `${process.pid}\n`, { flag: 'wx', mode: 0o600 });
      return () => rm(file, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const pid = Number.parseInt(readFileSync(file, 'utf8'), 10);
    // Another process may have got the number of one that was killed.
    if (pid > 0 && pid !== process.pid && / demo\b/.test((await commandOf(pid)).replaceAll('\0', ' '))) {
      throw new VouchError(
        'busy',
        `another npm start (process ${pid}) uses ${vouchHome()}: stop it first, or set VOUCH_HOME to another folder`,
      );
    }
    await rm(file, { force: true });
  }
}

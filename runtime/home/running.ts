/** What `npm start` runs now, in `.vouch/context.json`, for commands in other terminals. */
import { z } from 'zod';
import { VouchError } from '../../protocols/errors.ts';
import { readTextIfThere, removeFile, writeWhole } from './files.ts';
import { folder, vouchHome } from './home.ts';

const RunningVouch = z.object({
  url: z.string(),
  /** the server's URLs for other hosts; none while it listens on loopback only */
  servers: z.array(z.string()).default([]),
  /** folder with `<role>_<id>.creds` */
  creds: z.string(),
  monitor: z.string().optional(),
  /** the demonstration's */
  model: z.string().optional(),
});
export type RunningVouch = z.infer<typeof RunningVouch>;

const runningFile = (): string => folder('context.json');

/** Lets every command of this installation find what `npm start` runs; returns the way to take that back. */
export async function publishRunning(running: z.input<typeof RunningVouch>): Promise<() => Promise<void>> {
  await writeWhole(runningFile(), `${JSON.stringify(running, null, 2)}\n`);
  return () => removeFile(runningFile());
}

/** What `npm start` runs now. Throws `bad-file` when nothing runs or the file is damaged. */
export function readRunning(): RunningVouch {
  const text = readTextIfThere(runningFile(), 'what runs here');
  if (text === undefined) {
    throw new VouchError(
      'bad-file',
      `no running Vouch is known in ${vouchHome()}: run npm start in another terminal, or pass --nats URL and --creds FOLDER`,
    );
  }
  try {
    return RunningVouch.parse(JSON.parse(text));
  } catch (error) {
    throw new VouchError('bad-file', `${runningFile()} is damaged; run npm start again`, { cause: error });
  }
}

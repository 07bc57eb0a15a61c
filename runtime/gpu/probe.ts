/**
 * The GPU that Node would find, looked for in a process of its own (probe-program.ts), for two reasons: Dawn and the
 * Vulkan loader write to stderr about every driver that is not there or does not start, and nothing that is passed to
 * them silences that; and a driver that crashes takes the process with it. What they wrote is the cause of the error.
 * It costs a tenth of a second where there is no GPU, and where there is one its driver starts twice.
 */
import { type ExecFileException, execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { VouchError } from '../../protocols/errors.ts';

/** An adapter, as far as the choice of one goes. */
const AdapterSummary = z.strictObject({ name: z.string(), software: z.boolean() });
export type AdapterSummary = z.infer<typeof AdapterSummary>;
/** What the program prints; `none`: why there is no adapter. */
const Answer = z.union([AdapterSummary, z.strictObject({ none: z.string() })]);
export type Answer = z.infer<typeof Answer>;

/** The drivers of large machines take a second or two to start. */
const PROBE_MS = 30_000;
const MAX_CAUSE = 4_000;

/** Throws `not-ready` where there is no adapter. */
export async function probeAdapter(): Promise<AdapterSummary> {
  // The built package has `.js` files only.
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  const program = fileURLToPath(new URL(`./probe-program.${extension}`, import.meta.url));
  const { error, stdout, stderr } = await run(program);
  const none = (message: string) =>
    new VouchError('not-ready', message, { cause: stderr.slice(-MAX_CAUSE) || error });
  // Drivers may have written before it, and one that crashes when its process ends does so after it.
  const line = stdout.split('\n').at(-1)!;
  if (!line.startsWith('{'))
    throw none(`no GPU: looking for one ended with ${error?.signal ?? `exit code ${error?.code ?? 0}`}`);
  const answer = Answer.parse(JSON.parse(line));
  if ('none' in answer) throw none(answer.none);
  return answer;
}

interface Ended {
  readonly error: ExecFileException | null;
  readonly stdout: string;
  readonly stderr: string;
}

const run = (program: string): Promise<Ended> =>
  new Promise((resolve) => {
    execFile(process.execPath, [program], { timeout: PROBE_MS }, (error, stdout, stderr) =>
      resolve({ error, stdout, stderr }),
    );
  });

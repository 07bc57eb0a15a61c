/**
 * The tickets of proofs that were asked for from here and are not there yet, in `.vouch/requests`, secret (0600): with
 * one a request can be taken back from another terminal.
 */
import { z } from 'zod';
import { Digest, Id } from '../../protocols/envelope.ts';
import { VouchError } from '../../protocols/errors.ts';
import { token } from '../../protocols/subjects.ts';
import { readTextIfThere, removeFile, writeWhole } from '../home/files.ts';
import { folder } from '../home/home.ts';
import type { ProofTicket } from './proof-request.ts';

const Ticket = z.strictObject({ job: Id, secret: Digest });
const fileOf = (job: string): string => folder('requests', `${token(job, 'job')}.json`);

export const keepTicket = (ticket: ProofTicket): Promise<void> =>
  writeWhole(fileOf(ticket.job), JSON.stringify(ticket));

export const dropTicket = (job: string): Promise<void> => removeFile(fileOf(job));

/** Throws `bad-input` for a job that was not asked for from here, `bad-file` for a damaged ticket. */
export function readTicket(job: string): ProofTicket {
  const file = fileOf(job);
  const text = readTextIfThere(file, 'ticket');
  if (text === undefined) {
    throw new VouchError(
      'bad-input',
      `job ${job}: expected one that was asked for from this home and is not over, ${file} is not there`,
    );
  }
  try {
    return Ticket.parse(JSON.parse(text));
  } catch {
    // The cause could quote the secret.
    throw new VouchError('bad-file', `${file}: damaged; the job cannot be cancelled from here`);
  }
}

/** `vouch audit`: what key-brokers have released and refused, from the stream or a file, every link of it checked. */
import type { Command } from '@commander-js/extra-typings';
import { type AuditRecord, unprovenRecord, verifyChain } from '../../protocols/audit.ts';
import { fromHex, hex } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { STREAMS } from '../../protocols/streams.ts';
import { filters, lastToken, token } from '../../protocols/subjects.ts';
import { demandWritable, writeWhole } from '../home/files.ts';
import { encodeChain, knownAuditKey, readChainFile, storedRecords } from '../roles/audit-log.ts';
import { networked, type OptionsOf } from './declaration.ts';
import { asAuditor, networkOf } from './network.ts';
import { type Print, print } from './terminal.ts';

const declared = (command: Command) =>
  networked(command)
    .argument('[file]', 'records as --out or .vouch/audits has them, offline; default: those in the stream')
    .option('--broker <id>', 'of this broker only')
    .option('--key <hex>', "the broker's audit key; default: this installation's")
    .option('--head <digest>', 'a record seen before, which still has to be there')
    .option('--out <file>', 'keep the records for another day')
    .option('--json', 'one JSON array, a chain each', false);

export type AuditCommand = OptionsOf<typeof declared>;

export const define = (command: Command) =>
  declared(command).action(async (file, options) => {
    if (!(await auditCommand(file, options, print))) process.exitCode = 1;
  });

interface Log {
  readonly broker: string | undefined;
  readonly records: readonly Uint8Array[];
}

/** Returns whether every chain holds, under a key that is known. */
export async function auditCommand(
  file: string | undefined,
  options: AuditCommand,
  print: Print,
): Promise<boolean> {
  if (options.out !== undefined) await demandWritable(options.out);
  const logs =
    file === undefined
      ? await fetchLogs(options)
      : [{ broker: options.broker, records: readChainFile(file) }];
  if (logs.length > 1 && (options.key ?? options.head ?? options.out) !== undefined) {
    const brokers = logs.map(({ broker }) => broker).join(', ');
    throw new VouchError(
      'bad-input',
      `audit: expected --broker beside --key, --head and --out, one of ${brokers}`,
    );
  }
  if (options.out !== undefined)
    await writeWhole(options.out, encodeChain(logs[0]?.records ?? []), { mode: 0o644 });
  const judged = [];
  for (const log of logs) judged.push(await judge(log, options));
  if (options.json) print(judged.map(({ lines: _, ...rest }) => rest));
  else if (logs.length === 0) print('no key-broker has released or refused anything yet');
  else for (const { lines } of judged) for (const line of lines) print(line);
  return judged.every(({ holds }) => holds);
}

function fetchLogs(options: AuditCommand): Promise<Log[]> {
  return asAuditor(networkOf(options), async (bus) => {
    const found =
      options.broker === undefined
        ? [...(await bus.subjectsOf(STREAMS.audits.name, filters.audits)).keys()].map(lastToken).sort()
        : [token(options.broker, '--broker')];
    const logs: Log[] = [];
    for (const broker of found) {
      const records: Uint8Array[] = [];
      for await (const { data } of storedRecords(bus, broker)) records.push(data);
      logs.push({ broker, records });
    }
    return logs;
  });
}

async function judge({ broker, records }: Log, { key: given, head }: AuditCommand) {
  const first = records[0] && claimed(records[0]);
  const maker = broker ?? first?.broker;
  const known =
    given === undefined ? maker && (await knownAuditKey(maker)) : fromHex(given.toLowerCase(), '--key', 32);
  const origin = given !== undefined ? 'given' : known ? "this installation's" : 'unproven';
  const key = known || (first && fromHex(first.key));
  const none = { records: [], head: null };
  const chain =
    records.length === 0
      ? { ...none, broken: { record: 1, why: 'there is no record' } }
      : key === undefined
        ? { ...none, broken: { record: 1, why: 'it is not an audit record' } }
        : verifyChain(key, records, { ...(maker === undefined ? {} : { broker: maker }), head });
  const who = maker ?? 'unknown';
  const holds = chain.broken === undefined && origin !== 'unproven';
  const lines = chain.records.map(lineOf);
  if (chain.broken)
    lines.push(
      `broker ${who}: BROKEN at record ${chain.broken.record} of ${records.length}: ${chain.broken.why}`,
    );
  else lines.push(`broker ${who}: ${records.length} records, every link holds; head ${chain.head}`);
  if (key) lines.push(`audit key ${hex(key)} (${origin})`);
  if (origin === 'unproven' && key)
    lines.push(`nobody here knows that key: ask the broker's owner, then pass it with --key`);
  return { broker: who, holds, key: key && hex(key), origin, ...chain, lines };
}

function claimed(record: Uint8Array): AuditRecord | undefined {
  try {
    return unprovenRecord(record);
  } catch {
    return undefined;
  }
}

function lineOf(record: AuditRecord): string {
  const holder = record.holder && `${record.holder} ${record.hardware ? 'HARDWARE' : 'SIMULATED'}`;
  const why = [record.code, record.check].filter(Boolean).join(' ');
  const parts = [
    String(record.sequence).padStart(6),
    record.time.toISOString().replace('.000', ''),
    record.decision,
    record.model,
    holder,
    record.share && `share ${record.share}`,
    record.job && `proof ${record.job} for ${record.requester ?? 'nobody that is known'}`,
    why,
    record.unrecorded > 0 && `after ${record.unrecorded} unrecorded refusals`,
  ];
  return parts.filter(Boolean).join('  ');
}

/**
 * `vouch model add` for a model that answers in text: a GGUF file. It is committed to by a hash, encrypted chunk by chunk, and
 * published with its key like any other model; nothing of it can be proved.
 */
import { openFile } from '../home/file-source.ts';
import { readNamed } from '../home/files.ts';
import type { Log } from '../home/log.ts';
import type { Offer } from '../models/publish.ts';
import { publishText } from '../models/weights.ts';
import type { Bus } from '../nats/bus.ts';

const MAX_TEMPLATE_BYTES = 1024 * 1024;
const MAX_TOKENIZER_BYTES = 256 * 1024 * 1024;
const CONTEXT = 8192;

/** Whether a file begins as GGUF does (ggml, docs/gguf.md). Throws `bad-file`. */
export async function isGguf(path: string): Promise<boolean> {
  await using file = await openFile(path, 'model');
  const magic = new Uint8Array(Math.min(4, file.byteLength));
  await file.read(0, magic);
  return new TextDecoder().decode(magic) === 'GGUF';
}

export interface TextFilesGiven {
  readonly template?: string | undefined;
  readonly tokenizer?: string | undefined;
  /** tokens of prompt and answer together, default 8192 */
  readonly context?: number | undefined;
}

/** Throws `bad-file`, `storage-full`, and what the bus throws. */
export async function publishGguf(
  bus: Bus,
  source: string,
  file: string,
  { template, tokenizer, context = CONTEXT }: TextFilesGiven,
  offer: Offer,
  say: Log,
) {
  await using weights = await openFile(file, 'weights');
  let said = 0;
  return await publishText(bus, source, {
    ...offer,
    weights,
    template: template === undefined ? undefined : readNamed(template, 'chat template', MAX_TEMPLATE_BYTES),
    tokenizer: tokenizer === undefined ? undefined : readNamed(tokenizer, 'tokenizer', MAX_TOKENIZER_BYTES),
    defaults: { context, maxTokens: Math.max(1, Math.floor(context / 2)), temperature: 1, topP: 1 },
    onProgress(done, total) {
      const tenth = Math.floor((10 * done) / total);
      if (tenth > said && total > 2 ** 30) say(`${10 * tenth} % is committed to and stored`);
      said = Math.max(said, tenth);
    },
  });
}

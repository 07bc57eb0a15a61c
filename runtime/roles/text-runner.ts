/**
 * What a runner of a model that answers in text is started with: llama.cpp in its own process, which reads files in memory, or
 * an upstream, a server of OpenAI's API on loopback, whose files are compared with the commitment.
 *
 * Not guaranteed of an upstream: that it serves the files that it was started with. Its process belongs to what is measured,
 * or nobody vouches for it; receipts name it.
 */
import { readFile } from 'node:fs/promises';
import { VouchError } from '../../protocols/errors.ts';
import type { Log } from '../home/log.ts';
import { swapFiles } from '../home/memory-folder.ts';
import { openLlama } from '../inference/llama-engine.ts';
import type { LlamaBuild } from '../inference/llama-package.ts';
import { openUpstream } from '../inference/upstream-engine.ts';
import { weightsChunks } from '../prove/cache.ts';
import type { OpenEngine, RunnerOptions } from './runner.ts';

export interface TextRunner {
  /** the upstream's address, such as `http://127.0.0.1:8000/v1` */
  readonly upstream?: string | undefined;
  /** the files that it was started with */
  readonly weights?: string | undefined;
  readonly tokenizer?: string | undefined;
  readonly template?: string | undefined;
  readonly llama?: LlamaBuild | undefined;
  readonly threads?: number | undefined;
  /** what encrypted weights may take of the disk; 0 keeps none */
  readonly diskBytes?: number | undefined;
  readonly log: Log;
}

/** Throws `bad-input` for an upstream without its weights, and for files without an upstream. */
export function textRunner({
  upstream,
  llama,
  threads,
  diskBytes,
  log,
  ...given
}: TextRunner): RunnerOptions {
  const { weights, tokenizer, template } = given;
  if (upstream === undefined) {
    if ((weights ?? tokenizer ?? template) !== undefined)
      throw new VouchError(
        'bad-input',
        'start runner: --weights, --tokenizer and --template are of an --upstream; without one, files come from the vendor',
      );
    const openEngine: OpenEngine = async ({ files, architecture }) => {
      const swap = await swapFiles();
      if (swap.length > 0)
        log(
          `runner: this host may move weights in memory to ${swap.join(', ')}; turn swap off, or encrypt it`,
        );
      return openLlama({
        file: files.weights!,
        context: architecture.defaults.context,
        template: files.template === undefined ? undefined : await readFile(files.template, 'utf8'),
        threads,
        say: log,
        ...(llama ? { build: llama } : {}),
      });
    };
    const kept = diskBytes === 0 ? undefined : weightsChunks(diskBytes, (reason) => log(`runner: ${reason}`));
    return { kept, openEngine, textOnGpu: llama !== undefined && llama !== 'cpu' };
  }
  if (weights === undefined)
    throw new VouchError(
      'bad-input',
      'start runner: expected --weights FILE beside --upstream: the file that it was started with, to compare it with the commitment',
    );
  return {
    // Nobody knows what it computes on; most do on the GPU.
    textOnGpu: true,
    files: {
      weights,
      ...(tokenizer === undefined ? {} : { tokenizer }),
      ...(template === undefined ? {} : { template }),
    },
    openEngine: async ({ manifest }) => {
      log(
        `runner: the files that were named are those of model ${manifest.name}; that ${upstream} serves them is shown by nothing but the measurement of its process`,
      );
      return openUpstream({ url: upstream });
    },
  };
}

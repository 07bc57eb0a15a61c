/**
 * The types of node-llama-cpp 3.21.1 and @huggingface/jinja 0.5, as far as they are used here: the packages are not there when this is
 * compiled (llama-package.ts).
 */
export type Token = number;

export interface LlamaModule {
  getLlama(options: {
    gpu: false | 'cuda' | 'vulkan' | 'metal' | 'auto';
    build: 'never';
    skipDownload: true;
    progressLogs: false;
    usePrebuiltBinaries: true;
    logLevel: 'disabled';
    logger: () => void;
    debug: false;
    maxThreads?: number;
  }): Promise<Llama>;
  readonly LlamaGrammarEvaluationState: new (options: { model: LlamaModel; grammar: unknown }) => unknown;
}

export interface Llama {
  readonly buildType: 'localBuild' | 'prebuilt';
  readonly gpu: string | false;
  readonly llamaCppRelease: { readonly release: string };
  readonly cpuMathCores: number;
  readonly onDispose: { createListener(listener: () => void): unknown };
  loadModel(options: { modelPath: string; useMmap: boolean; loadSignal?: AbortSignal }): Promise<LlamaModel>;
  createGrammarForJsonSchema(schema: unknown): Promise<unknown>;
  getGrammarFor(type: 'json'): Promise<unknown>;
  dispose(): Promise<void>;
}

export interface LlamaModel {
  readonly trainContextSize: number;
  readonly fileInfo: { readonly metadata: { readonly tokenizer?: { readonly chat_template?: unknown } } };
  readonly tokens: {
    readonly bos: Token | null;
    readonly bosString: string | null;
    readonly eosString: string | null;
    readonly shouldPrependBosToken: boolean;
  };
  tokenize(text: string, specialTokens?: boolean): Token[];
  detokenize(tokens: readonly Token[], specialTokens?: boolean, lastTokens?: readonly Token[]): string;
  iterateAllTokens(): Iterable<Token>;
  getTokenAttributes(token: Token): { readonly control: boolean };
  createContext(options: {
    sequences: 1;
    contextSize: number;
    threads?: number;
    createSignal?: AbortSignal;
  }): Promise<LlamaContext>;
  createEmbeddingContext(options: {
    contextSize: number;
    threads?: number;
    createSignal?: AbortSignal;
  }): Promise<LlamaEmbeddingContext>;
}

export interface LlamaContext {
  getSequence(): LlamaSequence;
  dispose(): Promise<void>;
}

export interface LlamaSequence {
  evaluate(
    tokens: readonly Token[],
    options: {
      temperature: number;
      topP: number;
      topK: number;
      minP: number;
      seed?: number;
      grammarEvaluationState?: unknown;
    },
  ): AsyncGenerator<Token, void>;
}

export interface LlamaEmbeddingContext {
  getEmbeddingFor(input: readonly Token[]): Promise<{ readonly vector: readonly number[] }>;
  dispose(): Promise<void>;
}

export interface JinjaModule {
  readonly Template: new (source: string) => { render(values: Record<string, unknown>): string };
}

/// <reference lib="esnext.disposable" />
/**
 * The types of `vouch/prover`, for Node and for browsers: written by hand so that they compile in any project, with any
 * `lib`, without `skipLibCheck`. test/runtime/prove/package-types.test.ts holds the code against them.
 */

/** A number as JSON, contracts and JavaScript have it: decimal, 0x hexadecimal, BigInt, safe integer. */
export type Spelling = string | number | bigint;

/** Of the shape of @types/snarkjs's `Groth16Proof`, each assignable to the other. */
export interface Proof {
  pi_a: string[];
  pi_b: string[][];
  pi_c: string[];
  protocol: string;
  curve: string;
}
/** All that is read as a proof. */
export interface ProofLike {
  readonly pi_a: readonly Spelling[];
  readonly pi_b: readonly (readonly Spelling[])[];
  readonly pi_c: readonly Spelling[];
  readonly protocol?: string | undefined;
  readonly curve?: string | undefined;
}
export interface Proved {
  readonly proof: Proof;
  readonly publicSignals: string[];
}
export interface VerificationKey {
  readonly protocol: 'groth16';
  readonly curve: 'bn128';
  readonly nPublic: number;
  readonly vk_alpha_1: string[];
  readonly vk_beta_2: string[][];
  readonly vk_gamma_2: string[][];
  readonly vk_delta_2: string[][];
  readonly vk_alphabeta_12: string[][][];
  readonly IC: string[][];
}
/** Whatever `JSON.parse` gave, as snarkjs types it; every member is checked. */
// biome-ignore lint/suspicious/noExplicitAny: a key comes from JSON
export type KeyLike = any;

/** A Blob, as far as it is used: `lib.dom` need not be there. */
export interface BlobLike {
  readonly size: number;
  readonly type: string;
  arrayBuffer(): Promise<ArrayBuffer>;
  slice(start?: number, end?: number): BlobLike;
}
/** A file: its path (in a browser its address), its bytes, or its bytes as snarkjs wraps them. */
export type FileInput = string | Uint8Array | BlobLike | { readonly type: 'mem'; readonly data?: Uint8Array };
/** Where a file goes: its path, or an object that its bytes are put into. */
export type FileOutput = string | { readonly type: 'mem'; data?: Uint8Array };

export type InputValue = string | number | bigint | boolean | readonly InputValue[];
/** What a circuit is given, by the signal's name. */
export type Input = Readonly<Record<string, InputValue>>;

/** An AbortSignal, as far as it is used. */
export interface SignalLike {
  readonly aborted: boolean;
  addEventListener(type: 'abort', listener: () => void, options?: { once?: boolean }): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}
export interface Logger {
  debug?(line: string): void;
  info?(line: string): void;
  warn?(line: string): void;
  error?(line: string): void;
}
export type Phase =
  | 'loading'
  | 'checking'
  | 'witnessing'
  | 'transforming'
  | 'planning'
  | 'dispatching'
  | 'assembling'
  | 'verifying';

export interface ProverOptions {
  /** 1 to 64; the machine's logical cores by default. */
  readonly threads?: number | undefined;
  /** Who makes the sums: threads, the default, a GPU (`webgpu`), or both at once where there is one (`auto`). */
  readonly engine?: 'auto' | 'webgpu' | 'wasm' | undefined;
  /** snarkjs's: one thread. */
  readonly singleThread?: boolean | undefined;
}
export interface ProgressOptions {
  readonly signal?: SignalLike | undefined;
  readonly onPhase?: ((phase: Phase) => void) | undefined;
}
export interface LogOptions {
  /** What a circuit's `log()` prints, a line at a time. */
  readonly onLog?: ((line: string) => void) | undefined;
}
export interface ProveOptions extends ProverOptions, ProgressOptions, LogOptions {
  readonly logger?: Logger | null | undefined;
}
/** Ours, or snarkjs's logger and behind it snarkjs's options. */
export type Options = readonly [
  options?: ProveOptions | Logger | null,
  ...more: (object | null | undefined)[],
];
export interface VerifyOptions {
  readonly explain?: boolean | undefined;
  readonly logger?: Logger | null | undefined;
}
export type Verdict = { readonly verified: true } | { readonly verified: false; readonly reason: string };

/** A key that is checked and ready. With `await using` it is released at the end of its block. */
export interface LoadedKey extends AsyncDisposable {
  prove(wtns: FileInput, options?: ProgressOptions & LogOptions): Promise<Proved>;
  fullProve(input: Input, wasm: FileInput, options?: ProgressOptions & LogOptions): Promise<Proved>;
  /** Makes tables of the key's points within `bytes`: later proofs take up to a quarter less time. */
  tabulate(options: {
    readonly bytes: number;
    readonly signal?: SignalLike | undefined;
    readonly onProgress?: ((done: number) => void) | undefined;
  }): Promise<{ readonly levels: number; readonly bytes: number }>;
  release(): Promise<void>;
}
/** Threads that stay until `close`. */
export interface Prover extends AsyncDisposable {
  readonly threads: number;
  readonly arithmetic: string;
  load(zkey: FileInput, options?: ProgressOptions): Promise<LoadedKey>;
  close(): Promise<void>;
}
export interface CircuitInfo {
  readonly n8: number;
  readonly prime: bigint;
  readonly nVars: number;
  readonly nOutputs: number;
  readonly nPubInputs: number;
  readonly nPrvInputs: number;
  readonly nLabels: number;
  readonly nConstraints: number;
  readonly useCustomGates: boolean;
}

export function createProver(options?: ProverOptions): Promise<Prover>;

export const groth16: {
  prove(zkey: FileInput, wtns: FileInput, ...options: Options): Promise<Proved>;
  fullProve(input: Input, wasm: FileInput, zkey: FileInput, ...options: Options): Promise<Proved>;
  verify(
    key: KeyLike,
    publicSignals: readonly Spelling[],
    proof: ProofLike,
    options: VerifyOptions & { readonly explain: true },
  ): Promise<Verdict>;
  verify(
    key: KeyLike,
    publicSignals: readonly Spelling[],
    proof: ProofLike,
    options?: Logger | VerifyOptions | null,
  ): Promise<boolean>;
  exportSolidityCallData(proof: ProofLike, publicSignals: readonly Spelling[]): Promise<string>;
};
export const zKey: {
  exportVerificationKey(zkey: FileInput, logger?: Logger | null): Promise<VerificationKey>;
  exportSolidityVerifier(zkey: FileInput): Promise<string>;
};
export const wtns: {
  calculate(input: Input, wasm: FileInput, target: FileOutput, ...options: Options): Promise<void>;
  check(r1cs: FileInput, wtns: FileInput, logger?: Logger | null): Promise<boolean>;
};
export const r1cs: {
  info(file: FileInput, logger?: Logger | null): Promise<CircuitInfo>;
};

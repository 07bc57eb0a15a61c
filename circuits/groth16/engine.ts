/**
 * What the prover and the setup ask of whoever does the heavy arithmetic: a pool of WASM threads, a fleet of workers
 * over NATS, a GPU. An engine receives witness values; who may be one is decided by its caller.
 *
 * Vectors are little-endian, 32 bytes per element. Field operations are Montgomery's (x*y/R), so that the caller
 * chooses the form: Montgomery times Montgomery is Montgomery, Montgomery times standard is standard.
 */
import type { Group } from './point.ts';
import type { Section } from './section.ts';
import type { ProvingKey } from './zkey.ts';

export type { Group } from './point.ts';
export { SECTION_GROUP, SECTIONS, type Section } from './section.ts';

export interface EngineOptions {
  /** Aborting rejects with `cancelled` and stops the work. */
  readonly signal?: AbortSignal | undefined;
}

/** The sum of scalars[i] * bases[i] over one section of a proving key. */
export interface MsmEngine {
  /**
   * `scalars` has one 32-byte standard-form scalar per base of the section. Answers one affine point in zkey form: 64
   * bytes (G1) or 128 (G2).
   */
  msm(section: Section, scalars: Uint8Array, options?: EngineOptions): Promise<Uint8Array>;
}

/** Base points of one section, by number. */
export interface SectionRange {
  readonly section: Section;
  readonly from: number;
  readonly count: number;
}

export interface SumsOptions extends EngineOptions {
  /** Called when the transforms begin, and again when only sums are left. */
  readonly onPhase?: ((phase: 'transforming' | 'dispatching') => void) | undefined;
}
/** One point per section, in zkey form. */
export type Sums = Readonly<Record<Section, Uint8Array>>;

export interface QuotientOptions extends EngineOptions {
  /** Called when the sparse products begin, and again when the transforms do: for measuring. */
  readonly onStage?: ((stage: 'rows' | 'transforms') => void) | undefined;
}
/** A proving key that an engine holds ready: points, rows and twiddles lie where it computes. */
export interface ReadyKey extends MsmEngine {
  /**
   * The scalars of section H for a witness (`readWitness`): (A*B - C) / Z on the odd coset up to the constant that the
   * key's H divides out already, `domainSize` elements in standard form. Secret.
   */
  quotient(witness: Uint8Array, options?: QuotientOptions): Promise<Uint8Array>;
  /**
   * Does a witness satisfy every constraint? A key has no matrix C: `products` gives its entries (`entriesOfC`), which are
   * moved, once for a key. Where an engine can.
   */
  satisfied?(
    witness: Uint8Array,
    products: () => Promise<Uint8Array<ArrayBuffer>>,
    options?: EngineOptions,
  ): Promise<boolean>;
  /** `quotient` and `satisfied` at once, for less than both: undefined where a constraint is broken. Where an engine can. */
  checkedQuotient?(
    witness: Uint8Array,
    products: () => Promise<Uint8Array<ArrayBuffer>>,
    options?: EngineOptions,
  ): Promise<Uint8Array | undefined>;
  /**
   * Sums over parts of sections with scalars that they share: a range's bases belong to the last `count` of them. One affine
   * point for each range, in zkey form. Where an engine can.
   */
  rangeSums?(
    ranges: readonly SectionRange[],
    scalars: Uint8Array,
    options?: EngineOptions,
  ): Promise<Uint8Array[]>;
  /** All five sums of a proof; H's scalars do not leave the engine. */
  sums(witness: Uint8Array, options?: SumsOptions): Promise<Sums>;
  /**
   * Makes tables of the key's points, so that sums take fewer additions; where an engine can. They cost as many additions
   * as some tens of proofs save. What is called while they are made still goes without.
   */
  tabulate?(options: TabulateOptions): Promise<Tabulated>;
  /** Brings all parts of the key into memory that stay there, which otherwise come when they are first needed. */
  fetch?(): Promise<void>;
  /** `too-large` when a proof with the key has no room here, before any of it is read. */
  demandRoom?(): void;
  /** Gives its memory back as soon as the calls under way have ended. */
  release(): void;
}

/** Where tables stay between processes. What it answers is believed: it must be as safe as the keys. */
export interface TableStore {
  /** Fills `target` with what was written under this name; false where there is nothing of that size. */
  read(name: string, target: Uint8Array): Promise<boolean>;
  write(name: string, bytes: Uint8Array): Promise<void>;
}
export interface TabulateOptions extends EngineOptions {
  /** What the tables may take, the points themselves included. */
  readonly bytes: number;
  /** The key's digest, and where tables made for it before may be; without it they last as long as the key is ready. */
  readonly kept?: { readonly digest: string; readonly store: TableStore } | undefined;
  /** From 0 to 1. */
  readonly onProgress?: ((done: number) => void) | undefined;
}
export interface Tabulated {
  /** Tables of each section, the points themselves included; 1 where `bytes` is too little for any. */
  readonly levels: number;
  readonly bytes: number;
}

/** What a proof needs beside its sums: its key's points checked, a few points added up, and one pairing equation. */
export interface CurveEngine {
  /**
   * The sum of scalars[i] * bases[i]: affine points in zkey form, 32-byte standard-form scalars. Infinity and zero are
   * allowed among them, and no points at all. RangeError when the counts differ.
   */
  msm(group: Group, bases: Uint8Array, scalars: Uint8Array, options?: EngineOptions): Promise<Uint8Array>;
  /**
   * The number of the first of these points in zkey form that is not on the group's curve, or whose coordinates are not
   * reduced; -1 for none. Infinity is on the curve. Says nothing about G2's subgroup.
   */
  firstOffCurve(group: Group, points: Uint8Array, options?: EngineOptions): Promise<number>;
  /** Is the product of all e(g1[i], g2[i]) one? Affine points in zkey form, as many of each; not checked to be points. */
  pairingsCancel(g1: Uint8Array, g2: Uint8Array, options?: EngineOptions): Promise<boolean>;
}

export interface ReadyOptions extends EngineOptions {
  /**
   * `held`, the default: points stay in memory from when they are first needed, where all of them have room. `streamed`:
   * they are read again for each sum, some at a time, so that the engine never has a whole section.
   */
  readonly points?: 'held' | 'streamed' | undefined;
  /** Points of a section that are read at a time when they are streamed; for tests. */
  readonly streamedPoints?: number | undefined;
}

/** Whoever proves on this host: threads of WebAssembly, a GPU, both. */
export interface ProverEngine extends CurveEngine {
  /**
   * Loads the key's sections. Throws `too-large` where they do not fit, and what reading them throws; either may come from
   * the first call that needs a section instead.
   */
  ready(key: ProvingKey, options?: ReadyOptions): Promise<ReadyKey>;
}

/** Vector arithmetic over Fr. No operation changes its arguments. */
export interface FieldEngine {
  /**
   * Two sparse matrices times one vector. `entries` are 44 bytes each as in a zkey's section 4: matrix (0 or 1), row,
   * column (u32 each), value; those outside of the matrices are left out.
   */
  sparseProduct(
    entries: Uint8Array,
    vector: Uint8Array,
    rows: number,
    options?: EngineOptions,
  ): Promise<[Uint8Array, Uint8Array]>;
  /** The NTT of 2^k elements, in and out in natural order; `inverse` divides by 2^k. Linear, so in either form. */
  ntt(values: Uint8Array, inverse: boolean, options?: EngineOptions): Promise<Uint8Array>;
  /** values[i] * first * step^i, `step` in Montgomery form. */
  scale(
    values: Uint8Array,
    first: Uint8Array,
    step: Uint8Array,
    options?: EngineOptions,
  ): Promise<Uint8Array>;
  /** left[i] * right[i] - minus[i]; without `minus`, the product. */
  multiply(
    left: Uint8Array,
    right: Uint8Array,
    minus?: Uint8Array,
    options?: EngineOptions,
  ): Promise<Uint8Array>;
}

/** Multiples of the groups' generators, for a setup. */
export interface FixedBaseEngine {
  /** scalars[i] * generator for 32-byte standard-form scalars: affine points in zkey form, in order. */
  multiples(group: Group, scalars: Uint8Array, options?: EngineOptions): Promise<Uint8Array>;
  /** Points from zkey form to the big-endian standard form that ceremonies hash. */
  uncompressed(group: Group, points: Uint8Array, options?: EngineOptions): Promise<Uint8Array>;
}

/**
 * Witnesses by the WebAssembly modules that circom emits. circom 2: signals are set and read through one shared field
 * element, addressed by the FNV-1a hash of their name. circom 1, which many keys in use were made with: its memory is
 * imported, word 0 of it is where its free memory begins, and numbers lie in it as {i32 short value, u32 flags, limbs}
 * (both as circom_runtime drives them).
 *
 * What the module computes is its maker's: a proof of its witness is verified like any other. It runs in a thread of its
 * caller's, because it may run for ever.
 */
import { VouchError } from '../../protocols/errors.ts';
import { ELEMENT_BYTES, otherFieldOf, power, R, readElement, writeElement } from './field.ts';

/** Each signal's values, by its name. */
export type CalculatorInput = Readonly<Record<string, bigint | readonly bigint[]>>;
export interface CalculatorOptions {
  /** A line that the circuit's `log()` prints. */
  readonly onLog?: ((line: string) => void) | undefined;
}

const WORDS = ELEMENT_BYTES / 4;
const REASONS: Record<number, string> = {
  1: 'an input has no signal of its name',
  2: 'too many signals are set',
  3: 'a signal is set twice',
  4: 'a constraint or an assertion does not hold',
  5: 'not enough memory',
  6: 'an input has too many values',
};
const rejected = (why: string) =>
  new VouchError('witness-rejected', `the circuit rejects its inputs: ${why}`);
const bad = (why: string) => new VouchError('bad-file', `witness calculator: ${why}`);

/** `bad-file` when it is damaged, or none of circom's. */
export function compileCalculator(wasm: Uint8Array<ArrayBuffer>): Promise<WebAssembly.Module> {
  return naming(async () => {
    const module = await WebAssembly.compile(wasm);
    const imports = WebAssembly.Module.imports(module);
    const runtime = runtimeOf(module);
    for (const { module: from, name } of imports) {
      if (runtime.imports.includes(`${from}.${name}`)) continue;
      throw bad(`it imports ${from}.${name}, which circom's modules do not; it is not one that circom made`);
    }
    const names = WebAssembly.Module.exports(module).map(({ name }) => name);
    const missing = runtime.exports.find((name) => !names.includes(name));
    if (missing !== undefined) throw bad(`it has no function ${missing}; it is not one that circom made`);
    return module;
  });
}

/**
 * The witness by a calculator that was compiled: wires x 32 bytes, little-endian standard form. `witness-rejected` when the
 * inputs are not the circuit's or do not satisfy it (with template names and lines, never a value), `bad-file` when this is no
 * calculator over BN254. The calculator's memory is wiped where `isWiped` says so.
 */
export const runCalculator = (
  module: WebAssembly.Module,
  input: CalculatorInput,
  { onLog = () => {} }: CalculatorOptions = {},
): Promise<Uint8Array<ArrayBuffer>> => naming(async () => runtimeOf(module).run(module, input, onLog));

/** Is nothing left in a calculator's memory? What else there is of secrets ends with the thread. */
export const isWiped = (module: WebAssembly.Module): boolean =>
  WebAssembly.Module.exports(module).some(({ name, kind }) => name === 'memory' && kind === 'memory');

const runtimeOf = (module: WebAssembly.Module): Runtime =>
  WebAssembly.Module.imports(module).some(({ module: from, name }) => from === 'env' && name === 'memory')
    ? CIRCOM_1
    : CIRCOM_2;

/** What a module's faults are in our words. */
async function naming<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof VouchError) throw error;
    if (error instanceof WebAssembly.CompileError || error instanceof WebAssembly.LinkError)
      throw bad('it is damaged, or not one that circom made');
    // Out of bounds, unreachable, endless recursion, out of memory: the module's own doing, whatever its type.
    throw bad(
      `it failed while it computed (${error instanceof Error ? error.message.slice(0, 200) : 'no reason'})`,
    );
  }
}

interface Runtime {
  readonly imports: readonly string[];
  readonly exports: readonly string[];
  run(
    module: WebAssembly.Module,
    input: CalculatorInput,
    onLog: (line: string) => void,
  ): Uint8Array<ArrayBuffer>;
}

function demandPrime(prime: bigint): void {
  if (prime === R) return;
  throw bad(`its prime is ${otherFieldOf(prime)}, and proofs here are over BN254 (circom's --prime bn128)`);
}

const flat = (value: bigint | readonly bigint[]): readonly bigint[] =>
  typeof value === 'bigint' ? [value] : value;
const residue = (value: bigint): bigint => ((value % R) + R) % R;

/** The halves of a name's FNV-1a hash, 64 bits. */
function hashOf(name: string): [high: number, low: number] {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(name))
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return [Number(hash >> 32n), Number(hash & 0xffffffffn)];
}

/** What is used of a circom 2 module; versions before 2.0.7 lack what is optional. */
interface Circom2 {
  readonly memory?: WebAssembly.Memory;
  getVersion(): number;
  getMinorVersion?(): number;
  getPatchVersion?(): number;
  /** Where the shared element lies in `memory`, in bytes. */
  getSharedRWMemoryStart?(): number;
  getFieldNumLen32(): number;
  getRawPrime(): void;
  getInputSize?(): number;
  getInputSignalSize?(hashHigh: number, hashLow: number): number;
  getWitnessSize(): number;
  getWitness(wire: number): void;
  getMessageChar?(): number;
  init(check: number): void;
  readSharedRWMemory(word: number): number;
  writeSharedRWMemory(word: number, value: number): void;
  setInputSignal(hashHigh: number, hashLow: number, index: number): void;
}

const CIRCOM_2: Runtime = {
  imports: [
    'exceptionHandler',
    'printErrorMessage',
    'writeBufferMessage',
    'showSharedRWMemory',
    'log',
    'error',
  ].map((name) => `runtime.${name}`),
  exports: [
    ...['getVersion', 'getFieldNumLen32', 'getRawPrime', 'getWitnessSize', 'getWitness', 'init'],
    ...['readSharedRWMemory', 'writeSharedRWMemory', 'setInputSignal'],
  ],
  run(module, input, onLog) {
    let circuit!: Circom2;
    const readMessage = (): string => {
      let text = '';
      for (let c = circuit.getMessageChar?.() ?? 0; c !== 0; c = circuit.getMessageChar?.() ?? 0)
        text += String.fromCharCode(c);
      return text;
    };
    const readShared = (): bigint => {
      let value = 0n;
      for (let word = circuit.getFieldNumLen32() - 1; word >= 0; word--)
        value = (value << 32n) | BigInt(circuit.readSharedRWMemory(word) >>> 0);
      return value;
    };
    const errors: string[] = [];
    const line: string[] = [];
    const fail = (code: number): never => {
      const where = errors.join('; ').replace(/\s+/g, ' ').slice(0, 400);
      throw rejected(`${REASONS[code] ?? `error ${code}`}${where ? ` (${where})` : ''}`);
    };
    const runtime = {
      exceptionHandler: fail,
      error: fail,
      printErrorMessage: () => void errors.push(readMessage().trim()),
      // Pieces of a line, which ends with a line feed of its own.
      writeBufferMessage() {
        const piece = readMessage();
        if (piece !== '\n') line.push(piece);
        else onLog(line.splice(0).join(' '));
      },
      // Before 2.0.7 a log had one value and no end.
      showSharedRWMemory() {
        line.push(String(readShared()));
        if (!circuit.getMessageChar) onLog(line.splice(0).join(' '));
      },
      log: () => {},
    };
    circuit = new WebAssembly.Instance(module, { runtime }).exports as unknown as Circom2;
    try {
      return witnessOf(circuit, input, readShared);
    } finally {
      if (circuit.memory) new Uint8Array(circuit.memory.buffer).fill(0);
    }
  },
};

function witnessOf(
  circuit: Circom2,
  input: CalculatorInput,
  readShared: () => bigint,
): Uint8Array<ArrayBuffer> {
  if (circuit.getVersion() !== 2) throw bad(`it is of circom ${circuit.getVersion()}, expected 1 or 2`);
  circuit.getRawPrime();
  demandPrime(readShared());

  // 1: check every constraint on the way.
  circuit.init(1);
  let set = 0;
  for (const [name, given] of Object.entries(input)) {
    const [high, low] = hashOf(name);
    const values = flat(given);
    const size = circuit.getInputSignalSize?.(high, low) ?? values.length;
    if (size !== values.length) {
      throw rejected(
        size < 1 ? `it has no input ${name}` : `input ${name}: expected ${size} values, got ${values.length}`,
      );
    }
    for (const [i, value] of values.entries()) {
      let rest = residue(value);
      for (let word = 0; word < WORDS; word++) {
        circuit.writeSharedRWMemory(word, Number(rest & 0xffffffffn));
        rest >>= 32n;
      }
      circuit.setInputSignal(high, low, i);
      set++;
    }
  }
  const expected = circuit.getInputSize?.() ?? set;
  if (set !== expected) throw rejected(`expected ${expected} input values, got ${set}`);

  const size = circuit.getWitnessSize();
  const words = new Uint32Array(size * WORDS);
  const start = circuit.memory && circuit.getSharedRWMemoryStart?.();
  // Straight out of the module's memory, which is little-endian: a call for each word takes several times as long.
  const shared = start === undefined ? undefined : new Uint32Array(circuit.memory!.buffer, start, WORDS);
  for (let wire = 0; wire < size; wire++) {
    circuit.getWitness(wire);
    for (let word = 0; word < WORDS; word++)
      words[wire * WORDS + word] = shared ? shared[word]! : circuit.readSharedRWMemory(word);
  }
  return new Uint8Array(words.buffer);
}

interface Circom1 {
  /** Bytes of a number in memory. */
  getFrLen(): number;
  getPRawPrime(): number;
  getNVars(): number;
  init(check: number): void;
  getSignalOffset32(target: number, component: number, hashHigh: number, hashLow: number): void;
  setSignal(component: number, unused: number, signal: number, number: number): void;
  /** Where all values are, in standard form. */
  getWitnessBuffer(): number;
}

const PAGES = { most: 32_767, least: 1 };
/** In front of a number's limbs: its value, where it is short, and flags. */
const NUMBER_HEADER_BYTES = 8;
const LONG = 0x80000000;
const MONTGOMERY = 0x40000000;
/** Montgomery's factor of the limbs, inverted. */
const UNSCALE = power(2n ** 256n, R - 2n);

const CIRCOM_1: Runtime = {
  imports: [
    'env.memory',
    ...['error', 'log', 'logSetSignal', 'logGetSignal', 'logStartComponent', 'logFinishComponent'].map(
      (name) => `runtime.${name}`,
    ),
  ],
  exports: [
    ...['getFrLen', 'getPRawPrime', 'getNVars', 'init'],
    ...['getSignalOffset32', 'setSignal', 'getWitnessBuffer'],
  ],
  run(module, input, onLog) {
    const memory = largestMemory();
    const view = new DataView(memory.buffer);
    const u32 = (at: number) => view.getUint32(at, true);
    const bytesAt = (at: number) => new Uint8Array(memory.buffer, at, ELEMENT_BYTES);
    const textAt = (at: number): string => {
      let text = '';
      for (let i = at; text.length < 200 && view.getUint8(i) !== 0; i++)
        text += String.fromCharCode(view.getUint8(i));
      return text;
    };
    const valueAt = (at: number): bigint => {
      if (!(u32(at + 4) & LONG)) return residue(BigInt(view.getInt32(at, true)));
      const value = readElement(bytesAt(at + NUMBER_HEADER_BYTES));
      return u32(at + 4) & MONTGOMERY ? (value * UNSCALE) % R : value;
    };
    let name = '';
    const ignored = () => {};
    const runtime = {
      // What else it says may hold values.
      error(_code: number, text: number) {
        if (name !== '') throw rejected(`it has no input ${name}`);
        throw rejected(textAt(text).replace(/\s+/g, ' ') || 'a constraint or an assertion does not hold');
      },
      log: (number: number) => onLog(String(valueAt(number))),
      logSetSignal: ignored,
      logGetSignal: ignored,
      logStartComponent: ignored,
      logFinishComponent: ignored,
    };
    const circuit = new WebAssembly.Instance(module, { env: { memory }, runtime })
      .exports as unknown as Circom1;
    const prime = circuit.getPRawPrime();
    const bytes = circuit.getFrLen() - NUMBER_HEADER_BYTES;
    if (bytes !== ELEMENT_BYTES) throw bad(`its numbers have ${bytes} bytes, and BN254's ${ELEMENT_BYTES}`);
    demandPrime(readElement(bytesAt(prime)));

    // Its stack of free memory begins where word 0 says.
    const take = (size: number): number => {
      const at = u32(0);
      view.setUint32(0, at + size, true);
      return at;
    };
    // 1: check on the way.
    circuit.init(1);
    const offset = take(8);
    const number = take(NUMBER_HEADER_BYTES + ELEMENT_BYTES);
    for (const [signal, given] of Object.entries(input)) {
      name = signal;
      circuit.getSignalOffset32(offset, 0, ...hashOf(signal));
      name = '';
      const first = u32(offset);
      for (const [i, value] of flat(given).entries()) {
        view.setUint32(number, 0, true);
        view.setUint32(number + 4, LONG, true);
        writeElement(residue(value), bytesAt(number + NUMBER_HEADER_BYTES));
        circuit.setSignal(0, 0, first + i, number);
      }
    }
    const from = circuit.getWitnessBuffer();
    return new Uint8Array(
      memory.buffer.slice(from, from + circuit.getNVars() * ELEMENT_BYTES) as ArrayBuffer,
    );
  },
};

/** Reserved, not taken: how much it needs the module does not say in time. */
function largestMemory(): WebAssembly.Memory {
  for (let initial = PAGES.most; ; initial = Math.floor(initial / 2)) {
    try {
      return new WebAssembly.Memory({ initial });
    } catch (error) {
      if (initial <= PAGES.least) throw error;
    }
  }
}

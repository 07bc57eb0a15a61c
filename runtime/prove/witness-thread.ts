/**
 * Start-up code of the thread that computes a witness: it drives the WebAssembly module that circom 2.2 emits,
 * by that module's own interface (shared memory of one field element, signals addressed by the FNV-1a hash of
 * their name), and posts the witness or the reason why the inputs are rejected.
 */
import { parentPort, workerData } from 'node:worker_threads';
import type { CircuitInput } from '../../circuits/model/emit.ts';

interface WitnessModule {
  readonly memory: WebAssembly.Memory;
  /** Where the shared element lies in `memory`, in bytes. */
  getSharedRWMemoryStart(): number;
  getFieldNumLen32(): number;
  getRawPrime(): void;
  getInputSize(): number;
  getInputSignalSize(hashHigh: number, hashLow: number): number;
  getWitnessSize(): number;
  getWitness(wire: number): void;
  getMessageChar(): number;
  init(check: number): void;
  readSharedRWMemory(word: number): number;
  writeSharedRWMemory(word: number, value: number): void;
  setInputSignal(hashHigh: number, hashLow: number, index: number): void;
}

/** BN254: 8 words of 32 bits */
const WORDS = 8;
const REASONS: Record<number, string> = {
  1: 'an input has no signal of its name',
  2: 'too many signals are set',
  3: 'a signal is set twice',
  4: 'a constraint or an assertion does not hold',
  5: 'not enough memory',
  6: 'an input has too many values',
};

class Rejected extends Error {}

/** What the thread posts. */
export type WitnessResult =
  | { readonly witness: Uint8Array }
  | { readonly code: 'witness-rejected' | 'bad-file'; readonly message: string };

async function computeWitness(wasm: Uint8Array, input: CircuitInput): Promise<Uint8Array> {
  let circuit!: WitnessModule;
  const readMessage = (): string => {
    let text = '';
    for (let c = circuit.getMessageChar(); c !== 0; c = circuit.getMessageChar())
      text += String.fromCharCode(c);
    return text.trim();
  };
  const messages: string[] = [];
  const runtime = {
    exceptionHandler: (code: number) => {
      const where = messages.join('; ').replace(/\s+/g, ' ').slice(0, 400);
      throw new Rejected(`${REASONS[code] ?? `error ${code}`}${where ? ` (${where})` : ''}`);
    },
    printErrorMessage: () => void messages.push(readMessage()),
    // Our circuits log nothing, and a log could only hold secrets.
    writeBufferMessage: () => void readMessage(),
    showSharedRWMemory: () => {},
  };
  const { instance } = await WebAssembly.instantiate(wasm as Uint8Array<ArrayBuffer>, { runtime });
  circuit = instance.exports as unknown as WitnessModule;
  if (circuit.getFieldNumLen32() !== WORDS) throw new Rejected('the circuit is not over BN254');
  circuit.getRawPrime();
  let prime = 0n;
  for (let i = WORDS - 1; i >= 0; i--) prime = (prime << 32n) | BigInt(circuit.readSharedRWMemory(i) >>> 0);

  // 1: check every constraint on the way.
  circuit.init(1);
  let set = 0;
  for (const [name, given] of Object.entries(input)) {
    const hash = fnv1a(name);
    const [high, low] = [Number(hash >> 32n), Number(hash & 0xffffffffn)];
    const values = typeof given === 'bigint' ? [given] : given;
    const size = circuit.getInputSignalSize(high, low);
    if (size !== values.length) {
      throw new Rejected(
        size < 1 ? `it has no input ${name}` : `input ${name}: expected ${size} values, got ${values.length}`,
      );
    }
    for (const [i, value] of values.entries()) {
      let rest = ((value % prime) + prime) % prime;
      for (let word = 0; word < WORDS; word++) {
        circuit.writeSharedRWMemory(word, Number(rest & 0xffffffffn));
        rest >>= 32n;
      }
      circuit.setInputSignal(high, low, i);
      set++;
    }
  }
  if (set !== circuit.getInputSize())
    throw new Rejected(`expected ${circuit.getInputSize()} input values, got ${set}`);

  // Straight out of the module's memory, which is little-endian: a call for each word takes several times as long.
  const size = circuit.getWitnessSize();
  const words = new Uint32Array(size * WORDS);
  const shared = new Uint32Array(circuit.memory.buffer, circuit.getSharedRWMemoryStart(), WORDS);
  for (let wire = 0; wire < size; wire++) {
    circuit.getWitness(wire);
    words.set(shared, wire * WORDS);
  }
  return new Uint8Array(words.buffer);
}

/** FNV-1a, 64 bits. */
function fnv1a(text: string): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(text))
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash;
}

const { wasm, input } = workerData as { wasm: Uint8Array; input: CircuitInput };
let result: WitnessResult;
try {
  result = { witness: await computeWitness(wasm, input) };
} catch (error) {
  if (error instanceof Rejected) {
    result = { code: 'witness-rejected', message: `the circuit rejects its inputs: ${error.message}` };
  } else if (error instanceof WebAssembly.CompileError || error instanceof WebAssembly.LinkError) {
    result = {
      code: 'bad-file',
      message: 'the witness calculator is damaged, or not one that circom 2.2 made',
    };
  } else throw error;
}
parentPort!.postMessage(result, 'witness' in result ? [result.witness.buffer as ArrayBuffer] : []);

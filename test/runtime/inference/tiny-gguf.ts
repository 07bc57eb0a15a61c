/**
 * Makes a language model that llama.cpp takes and that knows nothing: llama's architecture, random weights from a seed, and a
 * vocabulary of the 256 bytes and three marks, so that almost any text is a prompt and answers are full of broken UTF-8.
 *
 * GGUF version 3 (ggml's docs/gguf.md): header, metadata, tensor descriptions, then tensors at offsets aligned to 32 bytes.
 */
import { closeSync, openSync, writeSync } from 'node:fs';

export interface TinyModel {
  readonly layers?: number;
  readonly width?: number;
  readonly heads?: number;
  readonly feedForward?: number;
  readonly context?: number;
  readonly seed?: number;
  readonly template?: string;
}

/** Turns between marks, as many models have them; the text of tools where the request has some. */
export const TEMPLATE = `{% if tools %}<|im_start|>system
{{ tools | tojson }}<|im_end|>
{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`;
export const MARKS = ['<|eos|>', '<|im_start|>', '<|im_end|>'];

const ALIGNMENT = 32;
const [UINT32, FLOAT32, STRING, ARRAY, INT32] = [4, 6, 8, 9, 5];
const [NORMAL, CONTROL] = [1, 3];

/** Writes the model to a file, and returns how many bytes it has. */
export function writeTinyModel(file: string, options: TinyModel = {}): number {
  const { layers = 2, width = 64, heads = 4, context = 512, seed = 1, template = TEMPLATE } = options;
  const feedForward = options.feedForward ?? 2 * width;
  const tokens = [...byteTokens(), ...MARKS];
  const metadata: [string, Buffer][] = [
    ['general.architecture', text('llama')],
    ['general.name', text('tiny')],
    ['llama.context_length', number(context)],
    ['llama.embedding_length', number(width)],
    ['llama.block_count', number(layers)],
    ['llama.feed_forward_length', number(feedForward)],
    ['llama.rope.dimension_count', number(width / heads)],
    ['llama.attention.head_count', number(heads)],
    ['llama.attention.head_count_kv', number(heads)],
    ['llama.attention.layer_norm_rms_epsilon', typed(FLOAT32, float(1e-5))],
    ['tokenizer.ggml.model', text('gpt2')],
    ['tokenizer.ggml.pre', text('gpt-2')],
    ['tokenizer.ggml.tokens', list(STRING, tokens.map(plain))],
    [
      'tokenizer.ggml.token_type',
      list(
        INT32,
        tokens.map((_, i) => uint32(i < 256 ? NORMAL : CONTROL)),
      ),
    ],
    ['tokenizer.ggml.merges', list(STRING, [])],
    ['tokenizer.ggml.bos_token_id', number(256)],
    ['tokenizer.ggml.eos_token_id', number(258)],
    ['tokenizer.chat_template', text(template)],
  ];
  const block = (i: number): [string, number[]][] => [
    [`blk.${i}.attn_norm.weight`, [width]],
    ...['q', 'k', 'v', 'output'].map((name): [string, number[]] => [
      `blk.${i}.attn_${name}.weight`,
      [width, width],
    ]),
    [`blk.${i}.ffn_norm.weight`, [width]],
    [`blk.${i}.ffn_gate.weight`, [width, feedForward]],
    [`blk.${i}.ffn_up.weight`, [width, feedForward]],
    [`blk.${i}.ffn_down.weight`, [feedForward, width]],
  ];
  const tensors: [string, number[]][] = [
    ['token_embd.weight', [width, tokens.length]],
    ['output_norm.weight', [width]],
    ['output.weight', [width, tokens.length]],
    ...Array.from({ length: layers }, (_, i) => block(i)).flat(),
  ];

  let offset = 0;
  const described = tensors.map(([name, sides]) => {
    const at = offset;
    offset = aligned(at + 4 * product(sides));
    return Buffer.concat([plain(name), uint32(sides.length), ...sides.map(uint64), uint32(0), uint64(at)]);
  });
  const head = Buffer.concat([
    Buffer.from('GGUF'),
    uint32(3),
    uint64(tensors.length),
    uint64(metadata.length),
    ...metadata.flatMap(([name, value]) => [plain(name), value]),
    ...described,
  ]);
  const random = generator(seed);
  const opened = openSync(file, 'w');
  try {
    let size = writeSync(opened, Buffer.concat([head, Buffer.alloc(aligned(head.length) - head.length)]));
    for (const [name, sides] of tensors) {
      const values = new Float32Array(aligned(4 * product(sides)) / 4);
      const spread = sides.length === 1 ? 0 : 1.7 / Math.sqrt(sides[0]!);
      const middle = name.includes('norm') ? 1 : 0;
      for (let i = 0; i < product(sides); i++) values[i] = middle + spread * (2 * random() - 1);
      size += writeSync(opened, values);
    }
    return size;
  } finally {
    closeSync(opened);
  }
}

/** GPT-2's letters for bytes: those that can be printed stand for themselves, the others for what follows 255. */
function byteTokens(): string[] {
  let next = 256;
  const stands = (byte: number) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(stands(byte) ? byte : next++));
}

/** Mulberry32: numbers in 0..1 that are the same everywhere. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

const product = (sides: readonly number[]): number => sides.reduce((all, side) => all * side, 1);
const aligned = (at: number): number => Math.ceil(at / ALIGNMENT) * ALIGNMENT;
const uint32 = (value: number): Buffer => Buffer.from(Uint32Array.of(value).buffer);
const uint64 = (value: number): Buffer => Buffer.from(BigUint64Array.of(BigInt(value)).buffer);
const float = (value: number): Buffer => Buffer.from(Float32Array.of(value).buffer);
const plain = (value: string): Buffer => {
  const bytes = Buffer.from(value);
  return Buffer.concat([uint64(bytes.length), bytes]);
};
const typed = (type: number, value: Buffer): Buffer => Buffer.concat([uint32(type), value]);
const text = (value: string): Buffer => typed(STRING, plain(value));
const number = (value: number): Buffer => typed(UINT32, uint32(value));
const list = (type: number, values: readonly Buffer[]): Buffer =>
  typed(ARRAY, Buffer.concat([uint32(type), uint64(values.length), ...values]));

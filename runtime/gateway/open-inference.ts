/**
 * Shapes of the Open Inference Protocol, version 2, over HTTP (KServe's "Open Inference Protocol" specification), and how
 * its tensors become rows of cells and decisions become tensors again.
 *
 * Inputs: one tensor for each column by the column's name, of shape [N] or [N, 1]; or one tensor of any other name with
 * raw columns in the model's order, of shape [N, columns]. Cells are exact: numbers are taken as JSON writes them.
 */
import { z } from 'zod';
import type { Preprocessing } from '../../circuits/model/preprocessing.ts';
import { VouchError } from '../../protocols/errors.ts';
import type { AnswerPlaintext } from '../../protocols/inference.ts';

/** Rows of one request. */
export const MAX_ROWS = 1024;
const MAX_COLUMNS = 4096;

const NUMBERS = [
  'UINT8',
  'UINT16',
  'UINT32',
  'UINT64',
  'INT8',
  'INT16',
  'INT32',
  'INT64',
  'FP16',
  'FP32',
  'FP64',
];
const Parameters = z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]));
const Cell = z.union([z.string().max(1024), z.number(), z.boolean()]);
type Data = z.infer<typeof Cell> | Data[];
const Data: z.ZodType<Data> = z
  .lazy(() => z.union([Cell, z.array(Data).max(MAX_ROWS * MAX_COLUMNS)]))
  .meta({ id: 'Data' });

export const InferInput = z
  .object({
    name: z.string().min(1).max(128),
    shape: z.array(z.int().min(0)).min(1).max(2),
    datatype: z.enum(['BOOL', 'BYTES', ...NUMBERS]),
    parameters: Parameters.optional(),
    data: z.array(Data).max(MAX_ROWS * MAX_COLUMNS),
  })
  .meta({ id: 'InferInput' });
export const InferRequest = z
  .object({
    id: z.string().max(256).optional(),
    parameters: Parameters.optional(),
    inputs: z.array(InferInput).min(1).max(MAX_COLUMNS),
    outputs: z
      .array(z.object({ name: z.string().max(128), parameters: Parameters.optional() }))
      .max(8)
      .optional(),
  })
  .meta({ id: 'InferRequest' });
export type InferRequest = z.infer<typeof InferRequest>;

const Tensor = z.object({
  name: z.string(),
  shape: z.array(z.int()),
  datatype: z.string(),
  data: z.array(z.union([z.string(), z.number()])),
});
export const InferResponse = z
  .object({
    model_name: z.string(),
    model_version: z.string(),
    id: z.string().optional(),
    parameters: Parameters,
    outputs: z.array(Tensor),
  })
  .meta({ id: 'InferResponse' });
export type InferResponse = z.infer<typeof InferResponse>;

const TensorMetadata = z.object({ name: z.string(), datatype: z.string(), shape: z.array(z.int()) });
export const ModelMetadata = z
  .object({
    name: z.string(),
    versions: z.array(z.string()),
    platform: z.string(),
    inputs: z.array(TensorMetadata),
    outputs: z.array(TensorMetadata),
  })
  .meta({ id: 'ModelMetadata' });

export const ServerMetadata = z
  .object({ name: z.string(), version: z.string(), extensions: z.array(z.string()) })
  .meta({ id: 'ServerMetadata' });
export const Live = z.object({ live: z.boolean() }).meta({ id: 'Live' });
export const Ready = z.object({ ready: z.boolean() }).meta({ id: 'Ready' });
export const ModelReady = z.object({ name: z.string(), ready: z.boolean() }).meta({ id: 'ModelReady' });
export const Failure = z.object({ error: z.string() }).meta({ id: 'Failure' });

const OUTPUTS = ['label', 'decision', 'receipt', 'scores'] as const;

export const tensorsOf = ({ columns }: Preprocessing): z.infer<typeof TensorMetadata>[] =>
  columns.map(({ name, kind }) => ({
    name,
    datatype: kind === 'category' ? 'BYTES' : kind === 'decimal' ? 'FP64' : 'INT64',
    shape: [-1],
  }));
export const OUTPUT_TENSORS: readonly z.infer<typeof TensorMetadata>[] = [
  { name: 'label', datatype: 'BYTES', shape: [-1] },
  { name: 'decision', datatype: 'INT64', shape: [-1] },
  { name: 'receipt', datatype: 'BYTES', shape: [-1] },
];

const wrong = (message: string): VouchError => new VouchError('bad-input', message);

/** The cells of a tensor, row by row; nested arrays are taken as their flat form, as the specification says. */
function cellsOf({ name, shape, data, datatype }: z.infer<typeof InferInput>): string[] {
  const flat = (data as unknown[]).flat(2);
  const expected = shape.reduce((product, side) => product * side, 1);
  if (flat.length !== expected)
    throw wrong(
      `inputs.${name}: expected ${expected} values for shape [${shape.join(', ')}], got ${flat.length}`,
    );
  return flat.map((value, i) => {
    if (Array.isArray(value)) throw wrong(`inputs.${name}: expected arrays at most two deep`);
    const fits =
      datatype === 'BYTES'
        ? typeof value === 'string'
        : datatype === 'BOOL'
          ? typeof value === 'boolean'
          : typeof value === 'number';
    if (!fits) throw wrong(`inputs.${name}.data.${i}: expected a value of ${datatype}`);
    if (typeof value === 'number' && Math.abs(value) > Number.MAX_SAFE_INTEGER)
      throw wrong(`inputs.${name}.data.${i}: a number above 2^53 is not exact in JSON; send it as BYTES`);
    return String(value);
  });
}

/** Rows of cells in the model's order. Throws `bad-input`, which names the tensor. */
export function rowsOf({ inputs }: InferRequest, { columns }: Preprocessing): string[][] {
  const names = columns.map(({ name }) => name);
  const [first] = inputs;
  const raw = inputs.length === 1 && !names.includes(first!.name);
  if (raw) {
    const [rows, width] = first!.shape;
    if (width !== names.length)
      throw wrong(
        `inputs.${first!.name}: expected shape [N, ${names.length}], or one tensor for each of ${names.slice(0, 3).join(', ')}, ...`,
      );
    const cells = cellsOf(first!);
    return bounded(rows!).map((i) => cells.slice(i * width, (i + 1) * width));
  }
  const byName = new Map(inputs.map((input) => [input.name, input]));
  if (byName.size !== inputs.length) throw wrong('inputs: expected each tensor once');
  const unknown = inputs.find(({ name }) => !names.includes(name));
  if (unknown)
    throw wrong(`inputs.${unknown.name}: the model has no such column; it has ${names.join(', ')}`);
  const tensors = names.map((name) => {
    const input = byName.get(name);
    if (!input) throw wrong(`inputs: expected a tensor ${name}`);
    if (input.shape[0] !== first!.shape[0] || (input.shape[1] ?? 1) !== 1)
      throw wrong(`inputs.${name}: expected shape [${first!.shape[0]}] as the first tensor has`);
    return cellsOf(input);
  });
  return bounded(first!.shape[0]!).map((i) => tensors.map((cells) => cells[i]!));
}

function bounded(rows: number): number[] {
  if (rows < 1 || rows > MAX_ROWS) throw wrong(`inputs: expected 1 to ${MAX_ROWS} rows, got ${rows}`);
  return Array.from({ length: rows }, (_, i) => i);
}

/** The answers as tensors; `outputs` of the request says which, all by default. Throws `bad-input` for an unknown one. */
export function outputsOf(
  answers: readonly AnswerPlaintext[],
  { outputs }: InferRequest,
): InferResponse['outputs'] {
  const unknown = outputs?.find(({ name }) => !(OUTPUTS as readonly string[]).includes(name));
  if (unknown) throw wrong(`outputs.${unknown.name}: expected names among ${OUTPUTS.join(', ')}`);
  const scores = answers.map((answer) => answer.scores ?? []);
  const width = scores[0]?.length ?? 0;
  const all: InferResponse['outputs'] = [
    { name: 'label', datatype: 'BYTES', shape: [answers.length], data: answers.map(({ label }) => label) },
    {
      name: 'decision',
      datatype: 'INT64',
      shape: [answers.length],
      data: answers.map(({ decision }) => decision),
    },
    {
      name: 'receipt',
      datatype: 'BYTES',
      shape: [answers.length],
      data: answers.map(({ receiptId }) => receiptId),
    },
    ...(width > 0
      ? [
          {
            name: 'scores',
            datatype: 'FP64',
            shape: [answers.length, width],
            data: scores.flat().map(Number),
          },
        ]
      : []),
  ];
  return all.filter(({ name }) => outputs === undefined || outputs.some((wanted) => wanted.name === name));
}

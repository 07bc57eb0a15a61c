/** ONNX's own cases (onnx/backend/test/data): models with inputs and what is expected for them, where they are there. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { problemLine, readGraph } from '../../circuits/model/graph.ts';
import { readOnnx } from '../../circuits/model/onnx.ts';
import { evaluate } from '../../circuits/model/quantise.ts';
import { quantiseTensorModel } from '../../circuits/model/tensor-model.ts';
import { integersOf, numbersOf, type TensorSample } from '../../circuits/model/tensor-values.ts';
import { VouchError } from '../../protocols/errors.ts';

const CASES = new URL('../../../shared/data/onnx/', import.meta.url);
export const haveCases = (): boolean => existsSync(CASES);

export const caseNames = (): string[] =>
  readdirSync(CASES)
    .filter((name) => name.startsWith('test_'))
    .map((name) => name.slice('test_'.length));

const file = (name: string, path: string): Uint8Array =>
  Uint8Array.from(readFileSync(new URL(`test_${name}/${path}`, CASES)));

/** TensorProto of onnx.proto3: the type in field 2, floats in field 4, raw bytes in field 9. */
function numbers(bytes: Uint8Array): number[] {
  let at = 0;
  let type = 1;
  let raw = new Uint8Array(0);
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++]!;
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const value = varint();
    if (key === 2 * 8) type = value;
    if ((key & 7) !== 2) continue;
    if (key >> 3 === 9) raw = bytes.slice(at, at + value);
    at += value;
  }
  const view = new DataView(raw.buffer);
  const width = type === 7 || type === 11 ? 8 : 4;
  return Array.from({ length: raw.length / width }, (_, i) =>
    type === 11
      ? view.getFloat64(i * 8, true)
      : type === 7
        ? Number(view.getBigInt64(i * 8, true))
        : type === 6
          ? view.getInt32(i * 4, true)
          : view.getFloat32(i * 4, true),
  );
}

export function readCase(name: string) {
  const graph = readOnnx(file(name, 'model.onnx'));
  const inputs = graph.inputs.filter((input) => !graph.initializers.has(input.name));
  const sample = (): TensorSample =>
    Object.fromEntries(
      inputs.map((input, i) => [input.name, numbers(file(name, `test_data_set_0/input_${i}.pb`))]),
    );
  const expected = (): number[] =>
    graph.outputs.flatMap((_, i) => numbers(file(name, `test_data_set_0/output_${i}.pb`)));
  return { graph, sample, expected };
}

/** What becomes of a case: a model with its input and outputs in integers, or the reasons why there is none. */
export function tensorCase(name: string) {
  const { graph, sample, expected } = readCase(name);
  const { problems } = readGraph(graph, { whole: true });
  if (problems.length > 0) return { problems: problems.map(problemLine) };
  try {
    const input = sample();
    const { architecture, parameters } = quantiseTensorModel(graph, [input]);
    const features = integersOf(architecture.named!, input);
    const outputs = evaluate({ architecture, parameters }, features).logits;
    const numbers = Object.values(numbersOf(architecture, outputs)).flat();
    const wanted = expected();
    const error = wanted.reduce((most, y, i) => Math.max(most, Math.abs(y - numbers[i]!)), 0);
    const testSet = { features: [features], labels: [0], outputs: [outputs] };
    return { architecture, parameters, testSet, error, same: wanted.length === numbers.length };
  } catch (problem) {
    if (!(problem instanceof VouchError)) throw problem;
    return { problems: [problem.message] };
  }
}

/**
 * A model whose inputs and outputs are tensors of numbers, without a table or classes: several inputs, any outputs. Inputs
 * are rounded to steps of a power of two, the same for all of them, which samples decide; a number outside of the range that
 * the samples span, up to the next power of two, is refused. What is proved is exact in these integers. How far they are from
 * the float model is measured on the samples, and nothing says that other inputs are no further.
 */
import { VouchError } from '../../protocols/errors.ts';
import { architectureDocument, parseArchitecture, ROUNDING, type TensorNames } from './architecture.ts';
import { floatTensors } from './float-tensors.ts';
import { modelOf, readGraph } from './graph.ts';
import type { OnnxGraph } from './onnx.ts';
import { evaluate, type QuantisedModel } from './quantise.ts';
import { quantiseTensors } from './quantise-tensors.ts';
import { integersOf, type TensorSample } from './tensor-values.ts';

export interface TensorModel extends QuantisedModel {
  /** greatest distance of an output from that of the float model over the samples */
  readonly error: number;
}

/** Bits of the greatest number of a sample. */
const INPUT_BITS = 11;
const BITS = 8;
/** of the integer part of an input */
const MOST_BITS = 24;

/** Throws `bad-input` for what is not supported, or does not fit. */
export function quantiseTensorModel(
  onnx: OnnxGraph,
  samples: readonly TensorSample[],
  bits = BITS,
): TensorModel {
  const reading = readGraph(onnx, { whole: true });
  const network = modelOf(reading);
  const { named } = reading;
  if (!named || !('operations' in network))
    throw new VouchError('bad-input', 'ONNX model: it has no tensors');
  if (samples.length === 0) throw new VouchError('bad-input', 'samples: expected at least one');
  const { exponent, size } = stepsOf(samples);
  const inputs = named.inputs.map(({ name, dims }) => ({
    name,
    dims: [...dims],
    low: -size,
    high: size - 1,
  }));
  const calibration = samples.map((sample) => integersOf({ inputs, exponent }, sample));
  const {
    operations,
    parameters,
    exponent: outputExponent,
  } = quantiseTensors(network, {
    bits,
    ranges: Array.from(calibration[0]!, () => ({ low: -size, high: size - 1 })),
    exponent,
    calibration,
  });
  const names: TensorNames = {
    inputs,
    exponent,
    outputs: named.outputs.map(({ name, dims }) => ({ name, dims: [...dims] })),
    outputExponent,
  };
  const architecture = parseArchitecture(
    architectureDocument({
      version: 3,
      named: names,
      preprocessing: { columns: [] },
      layers: [],
      tensors: operations,
      rounding: ROUNDING,
      decision: 'tensor',
      classes: [],
    }),
  );
  const model = { architecture, parameters: { layers: parameters } };
  const errors = samples.map((sample, s) => {
    const row = inputs.flatMap(({ name }) => Array.from(sample[name]!));
    const float = floatTensors(network, row);
    const { logits } = evaluate(model, calibration[s]!);
    return float.reduce((most, y, e) => Math.max(most, Math.abs(y - logits[e]! * 2 ** -outputExponent)), 0);
  });
  return { ...model, error: errors.reduce((a, b) => Math.max(a, b), 0) };
}

/** A step in which whole numbers stay what they are, and else the greatest number has so many bits. */
function stepsOf(samples: readonly TensorSample[]): { exponent: number; size: number } {
  let most = 1e-9;
  let whole = true;
  for (const sample of samples)
    for (const values of Object.values(sample))
      for (let i = 0; i < values.length; i++) {
        const x = values[i]!;
        if (!Number.isFinite(x)) throw new VouchError('bad-input', 'samples: expected finite numbers');
        most = Math.max(most, Math.abs(x));
        whole &&= Number.isInteger(x);
      }
  if (most >= 2 ** MOST_BITS)
    throw new VouchError(
      'bad-input',
      `samples: a number of ${most.toPrecision(3)}; expected numbers below 2^${MOST_BITS}: scale them in the data`,
    );
  const bits = Math.floor(Math.log2(most)) + 1;
  const exponent = whole ? Math.min(0, INPUT_BITS - bits) : INPUT_BITS - bits;
  return { exponent, size: 2 ** Math.max(1, bits + exponent) };
}

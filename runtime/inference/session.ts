/**
 * Serves a quantised model with ONNX Runtime Web: on the WebGPU provider where the caller gives a device, on
 * WebAssembly otherwise. Every value is an integer below 2^24 in float32, so both compute what `evaluate`
 * computes, bit for bit; a result that is not such an integer is refused.
 *
 * The provider is chosen here and reported. ONNX Runtime itself would fall back without saying so.
 */
import type { Env, InferenceSession } from 'onnxruntime-web';
import { EXACT, outputsOf } from '../../circuits/model/architecture.ts';
import { featureRanges } from '../../circuits/model/preprocessing.ts';
import { type Answer, answerOf, type QuantisedModel } from '../../circuits/model/quantise.ts';
import { SERVED_INPUT, SERVED_OUTPUT, servedGraph } from '../../circuits/model/served.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';

export type Provider = 'webgpu' | 'wasm';

export interface ServedModel {
  readonly provider: Provider;
  /** Answers rows of features in their ranges (`bad-input` otherwise). Calls run one after another. */
  answer(rows: readonly ArrayLike<number>[]): Promise<Answer[]>;
  close(): Promise<void>;
}

/** The WebGPU device to serve on; whoever opened it closes it, after the model. */
export interface ServingGpu {
  readonly device: GPUDevice;
}

/** rows in one call; bounds the memory of a request */
const MAX_ROWS = 65_536;

/**
 * Loads a model. Throws `not-ready` when ONNX Runtime does not start, `device-lost` from `answer` when it fails
 * or computes wrongly.
 */
export async function serveModel(model: QuantisedModel, gpu?: ServingGpu): Promise<ServedModel> {
  const provider: Provider = gpu ? 'webgpu' : 'wasm';
  const ort = await (gpu ? import('onnxruntime-web/webgpu') : import('onnxruntime-web/wasm'));
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = 'error';
  if (gpu) offer(gpu.device, ort.env);
  let session: InferenceSession;
  try {
    session = await ort.InferenceSession.create(servedGraph(model), {
      executionProviders: [gpu ? { name: 'webgpu', device: gpu.device } : 'wasm'],
    });
  } catch (error) {
    throw new VouchError(
      'not-ready',
      `ONNX Runtime (${provider}) does not load the model: ${messageOf(error)}`,
      { cause: error },
    );
  }
  const ranges = featureRanges(model.architecture.preprocessing);
  const width = outputsOf(model.architecture);

  const infer = async (rows: readonly ArrayLike<number>[]): Promise<Answer[]> => {
    const input = new ort.Tensor('float32', packRows(rows, ranges), [rows.length, ranges.length]);
    let output: Float32Array;
    try {
      const results = await session.run({ [SERVED_INPUT]: input });
      output = (await results[SERVED_OUTPUT]!.getData()) as Float32Array;
    } catch (error) {
      throw new VouchError('device-lost', `ONNX Runtime (${provider}) failed: ${messageOf(error)}`, {
        cause: error,
      });
    }
    if (
      output.length !== rows.length * width ||
      !output.every((a) => Number.isInteger(a) && Math.abs(a) < EXACT)
    ) {
      throw new VouchError(
        'device-lost',
        `ONNX Runtime (${provider}) computed something that is no integer below 2^24`,
      );
    }
    return rows.map((_, r) =>
      answerOf(model.architecture, Int32Array.from(output.subarray(r * width, (r + 1) * width))),
    );
  };

  let queue: Promise<unknown> = Promise.resolve();
  return {
    provider,
    answer: (rows) => {
      const answer = queue.then(() => infer(rows));
      queue = answer.catch(() => {});
      return answer;
    },
    close: () => queue.then(() => session.release()),
  };
}

/**
 * ONNX Runtime starts its WebGPU provider only where `navigator.gpu` is, which Node lacks, and where it finds an
 * adapter, although it then works on the device that it is given.
 */
function offer(device: GPUDevice, env: Env): void {
  if (!navigator.gpu) Object.defineProperty(navigator, 'gpu', { value: {}, configurable: true });
  const { features, limits } = device;
  Object.assign(env.webgpu, { adapter: { features, limits, requestDevice: async () => device } });
}

function packRows(
  rows: readonly ArrayLike<number>[],
  ranges: readonly { low: number; high: number }[],
): Float32Array {
  if (rows.length < 1 || rows.length > MAX_ROWS) {
    throw new VouchError('bad-input', `rows: expected 1 to ${MAX_ROWS}, got ${rows.length}`);
  }
  const values = new Float32Array(rows.length * ranges.length);
  rows.forEach((row, r) => {
    if (row.length !== ranges.length) {
      throw new VouchError(
        'bad-input',
        `row ${r + 1}: expected ${ranges.length} features, got ${row.length}`,
      );
    }
    ranges.forEach(({ low, high }, i) => {
      const x = row[i]!;
      if (!Number.isInteger(x) || x < low || x > high) {
        throw new VouchError(
          'bad-input',
          `row ${r + 1}, feature ${i + 1}: expected an integer in ${low}..${high}`,
        );
      }
      values[r * ranges.length + i] = x;
    });
  });
  return values;
}

/** Small convolutional networks as an exporter writes them, and models of them. */
import { type CommittedModel, randomSalt } from '../../circuits/model/commit.ts';
import type { Dictionary } from '../../circuits/model/dictionary.ts';
import type { TensorNetwork } from '../../circuits/model/float-tensors.ts';
import { readGraph } from '../../circuits/model/graph.ts';
import type { NumberLabel } from '../../circuits/model/numbers.ts';
import { type OnnxGraph, type OnnxNode, type OnnxTensor, readOnnx } from '../../circuits/model/onnx.ts';
import { writeOnnx } from '../../circuits/model/onnx-writer.ts';
import { quantise } from '../../circuits/model/quantise.ts';
import { quantiseTensorModel } from '../../circuits/model/tensor-model.ts';
import type { TensorSample } from '../../circuits/model/tensor-values.ts';
import { seededRandom } from '../../runtime/models/random.ts';
import { numbersDictionary } from './numbers-fixture.ts';
import { graph, node, tensor } from './onnx-fixture.ts';

/** A dictionary of whole numbers 0 to `high`, one for each pixel. */
export const pixels = (count: number, classes: number, high = 255): Dictionary => ({
  version: 1,
  columns: Array.from({ length: count }, (_, i) => ({ kind: 'integer', name: `x${i}`, low: 0, high })),
  label: {
    name: 'class',
    classes: Array.from({ length: classes }, (_, c) => ({ value: `${c}`, name: `class ${c}` })),
  },
  split: { seed: 1, train: 50 },
});

export interface LeNet {
  /** width and height of the image */
  readonly side: number;
  /** channels of the two convolutions */
  readonly channels: readonly [number, number];
  readonly kernel: number;
  /** padding of the first convolution */
  readonly pad: number;
  /** units of the dense layers */
  readonly dense: readonly number[];
  readonly seed?: number;
}

/** LeCun and others, 1998: "Gradient-based learning applied to document recognition", as it is trained today. */
export const LENET5: LeNet = { side: 28, channels: [6, 16], kernel: 5, pad: 2, dense: [120, 84, 10] };
export const SMALL: LeNet = { side: 8, channels: [2, 3], kernel: 3, pad: 1, dense: [5, 3] };

/** Random weights of the size that training starts with. With one output at the end, it answers a number. */
export function leNet({ side, channels, kernel, pad, dense, seed = 1 }: LeNet): OnnxGraph {
  const random = seededRandom(seed);
  const constants: Record<string, OnnxTensor> = {
    scale: tensor([], [255]),
    image: tensor([4], [-1, 1, side, side], 'int64'),
  };
  const weights = (name: string, dims: number[]): string => {
    const inputs = dims.slice(1).reduce((a, b) => a * b, 1);
    const count = inputs * dims[0]!;
    constants[name] = tensor(
      dims,
      Array.from({ length: count }, () => random.normal() / Math.sqrt(inputs)),
    );
    constants[`${name}b`] = tensor(
      [dims[0]!],
      Array.from({ length: dims[0]! }, () => random.normal() / 10),
    );
    return name;
  };
  const nodes: OnnxNode[] = [
    node('Reshape', ['x', 'image'], 'image0'),
    node('Div', ['image0', 'scale'], 'values0'),
  ];
  let at = side;
  channels.forEach((count, l) => {
    const w = weights(`k${l}`, [count, l === 0 ? 1 : channels[0], kernel, kernel]);
    const padding = l === 0 ? pad : 0;
    nodes.push(
      node('Conv', [`values${l}`, w, `${w}b`], `conv${l}`, [
        ['kernel_shape', [kernel, kernel]],
        ['pads', [padding, padding, padding, padding]],
      ]),
      node('Relu', [`conv${l}`], `relu${l}`),
      node('MaxPool', [`relu${l}`], `values${l + 1}`, [
        ['kernel_shape', [2, 2]],
        ['strides', [2, 2]],
      ]),
    );
    at = Math.floor((at + 2 * padding - kernel + 1) / 2);
  });
  nodes.push(node('Flatten', ['values2'], 'dense0'));
  let inputs = channels[1] * at * at;
  dense.forEach((outputs, l) => {
    const w = weights(`w${l}`, [outputs, inputs]);
    const last = l === dense.length - 1;
    nodes.push(node('Gemm', [`dense${l}`, w, `${w}b`], last ? 'logits' : `sum${l}`, [['transB', 1]]));
    if (!last) nodes.push(node('Relu', [`sum${l}`], `dense${l + 1}`));
    inputs = outputs;
  });
  if (dense.at(-1)! > 1) nodes.push(node('Softmax', ['logits'], 'answer', [['axis', 1]]));
  return graph(nodes, constants, [undefined, side * side]);
}

/** Something like a drawing: a blot on nothing. */
export function drawing(side: number, seed: number): Int32Array {
  const random = seededRandom(seed);
  const [x, y] = [random.below(side), random.below(side)];
  return Int32Array.from({ length: side * side }, (_, at) => {
    const far = Math.hypot((at % side) - x, Math.floor(at / side) - y);
    return far < side / 3 ? 100 + random.below(156) : 0;
  });
}

export function tensorsOf(onnx: OnnxGraph): TensorNetwork {
  const { tensors, problems } = readGraph(readOnnx(writeOnnx(onnx)));
  if (!tensors) throw new Error(problems.map(({ reason }) => reason).join('; '));
  return tensors;
}

/** What a drawing is worth. */
export const WORTH: NumberLabel = { low: -2000, high: 4000, step: '0.002' };

/** The same pixels, whose label is a number. */
export const pricedPixels = (count: number, number = WORTH): Dictionary => ({
  ...pixels(count, 2),
  label: { name: 'worth', number },
});

export function smallTensors(shape: LeNet = SMALL): CommittedModel {
  const { side, dense } = shape;
  const calibration = Array.from({ length: 24 }, (_, i) => drawing(side, 1000 + i));
  const outputs = dense.at(-1)!;
  const dictionary = outputs > 1 ? pixels(side * side, outputs) : pricedPixels(side * side);
  return { ...quantise(tensorsOf(leNet(shape)), { dictionary, calibration }), salt: randomSalt() };
}

/** Two columns of a table times each other, with and without weights: the one is known for a row that everybody sees. */
export function products(weighted: boolean): CommittedModel {
  const columns = numbersDictionary(2);
  const nodes = [
    ...['x0', 'x1'].map((name, i) => node('Slice', ['x', `at${i}`, `at${i + 1}`, 'one'], name)),
    node('Mul', ['x0', 'x1'], 'product'),
    ...(weighted ? [node('Gemm', ['product', 'w', 'b'], 'answer')] : []),
  ];
  const at = (i: number): OnnxTensor => tensor([1], [i], 'int64');
  const onnx = graph(nodes, {
    at0: at(0),
    at1: at(1),
    at2: at(2),
    one: at(1),
    ...(weighted ? { w: tensor([1, 1], [-0.37]), b: tensor([1], [1.5]) } : {}),
  });
  const calibration = [Int32Array.of(12, 12), Int32Array.of(-3, 12)];
  return { ...quantise(tensorsOf(onnx), { dictionary: columns, calibration }), salt: randomSalt() };
}

/** Two inputs: a residual block of convolutions over the one, times the other; both outputs are shown. */
export function residual(seed = 1): OnnxGraph {
  const random = seededRandom(seed);
  const weights = (dims: number[]): OnnxTensor =>
    tensor(
      dims,
      Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => random.normal() / 2),
    );
  const same: [string, number[]][] = [['pads', [1, 1]]];
  const nodes = [
    node('Conv', ['x', 'k', 'kb'], 'conv', same),
    node('Relu', ['conv'], 'relu'),
    node('Conv', ['relu', 'l', 'lb'], 'inner', same),
    node('Add', ['inner', 'x'], 'sum'),
    node('Relu', ['sum'], 'block'),
    node('AveragePool', ['block'], 'pooled', [
      ['kernel_shape', [2]],
      ['strides', [2]],
    ]),
    node('Mul', ['pooled', 'gate'], 'gated'),
  ];
  const g = graph(nodes, {
    k: weights([2, 2, 3]),
    kb: weights([2]),
    l: weights([2, 2, 3]),
    lb: weights([2]),
  });
  return {
    ...g,
    inputs: [
      { name: 'x', dims: [1, 2, 4] },
      { name: 'gate', dims: [1, 2, 1] },
    ],
    outputs: [
      { name: 'gated', dims: [] },
      { name: 'block', dims: [] },
    ],
  };
}

export function residualSamples(count: number, seed = 1): TensorSample[] {
  const random = seededRandom(seed);
  return Array.from({ length: count }, () => ({
    x: Array.from({ length: 8 }, () => Math.max(-2, Math.min(2, random.normal()))),
    gate: [random.normal() > 0 ? 1.5 : -0.5, 0.25],
  }));
}

export function residualModel(): CommittedModel {
  const { architecture, parameters } = quantiseTensorModel(residual(), residualSamples(8));
  return { architecture, parameters, salt: randomSalt() };
}

/** A graph of random operators over an image of 2 channels, and what it is like. */
export function randomGraph(seed: number): { graph: OnnxGraph; samples: TensorSample[] } {
  const random = seededRandom(seed);
  const constants: Record<string, OnnxTensor> = {};
  const nodes: OnnxNode[] = [];
  let [channels, width] = [2, 6];
  let current = 'x';
  const values = (count: number, scale: number) =>
    Array.from({ length: count }, () => random.normal() * scale);
  const constant = (dims: number[], scale = 0.5): string => {
    const name = `c${Object.keys(constants).length}`;
    constants[name] = tensor(
      dims,
      values(
        dims.reduce((a, b) => a * b, 1),
        scale,
      ),
    );
    return name;
  };
  const add = (operator: string, more: string[] = [], attributes: Parameters<typeof node>[3] = []): void => {
    nodes.push(node(operator, [current, ...more], `v${nodes.length}`, attributes));
    current = `v${nodes.length - 1}`;
  };
  const steps: (() => void)[] = [
    () => {
      const [groups, kernel, stride] = [
        1 + random.below(channels % 2 === 0 ? 2 : 1),
        1 + random.below(3),
        1 + random.below(2),
      ];
      if (width + 2 < kernel) return;
      const outputs = groups * (1 + random.below(2));
      const more = [constant([outputs, channels / groups, kernel, kernel]), constant([outputs])];
      add('Conv', more, [
        ['group', groups],
        ['strides', [stride, stride]],
        ['pads', [1, 1, 1, 1]],
      ]);
      [channels, width] = [outputs, Math.floor((width + 2 - kernel) / stride) + 1];
    },
    () =>
      add(
        'Conv',
        [constant([channels, channels, 3, 3])],
        [['auto_pad', random.below(2) === 0 ? 'SAME_UPPER' : 'SAME_LOWER']],
      ),
    () => add('Relu'),
    () => add('LeakyRelu', [], [['alpha', 0.25]]),
    () => add('PRelu', [constant([channels, 1, 1])]),
    () => {
      constants.low = tensor([], [-0.5]);
      constants.high = tensor([], [0.75]);
      add('Clip', ['low', 'high']);
    },
    () => {
      if (width < 2) return;
      add(
        random.below(2) === 0 ? 'MaxPool' : 'AveragePool',
        [],
        [
          ['kernel_shape', [2, 2]],
          ['strides', [1, 1]],
          ['pads', [1, 0, 0, 1]],
        ],
      );
    },
    () => add('Add', [current]),
    () => {
      const before = current;
      add('Relu');
      add(random.below(2) === 0 ? 'Sub' : 'Mul', [before]);
    },
    () => add('Add', [constant([1, channels, 1, 1])]),
    () => add('Transpose', [], [['perm', [0, 1, 3, 2]]]),
    () => {
      const variance = constant([channels]);
      constants[variance] = tensor(
        [channels],
        values(channels, 1).map((v) => 0.5 + v * v),
      );
      add('BatchNormalization', [constant([channels]), constant([channels]), constant([channels]), variance]);
    },
  ];
  for (let step = 0; step < 5; step++) steps[random.below(steps.length)]!();
  if (random.below(2) === 0) {
    add('Flatten');
    add('Gemm', [constant([channels * width * width, 3]), constant([3])]);
  } else add('GlobalAveragePool');
  const samples = Array.from({ length: 6 }, () => ({
    x: values(72, 0.7).map((v) => Math.max(-2, Math.min(2, v))),
  }));
  return { graph: { ...graph(nodes, constants), inputs: [{ name: 'x', dims: [1, 2, 6, 6] }] }, samples };
}

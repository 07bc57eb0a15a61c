/**
 * Operators that slide a window: convolution and pooling, in one, two or more dimensions. A convolution is one dense
 * layer here, with a weight of its own at every position; what that costs is said before anything is proved.
 */
import { summed } from './arithmetic.ts';
import { demandProducts, multiplied } from './dense.ts';
import {
  type Activation,
  activationAt,
  listOf,
  type NodeView,
  numberOf,
  numbersAt,
  positions,
  sizeOf,
  stridesOf,
  swapped,
  textOf,
  Unsupported,
  type Value,
} from './value.ts';

export interface Window {
  /** of the kernel, per spatial axis */
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly before: readonly number[];
  /** of the output, per spatial axis */
  readonly output: readonly number[];
}

/** How the window of a node lies over its input; `kernel` where the weights say it. */
function windowOf(
  view: NodeView,
  { dims, batch }: Activation,
  kernel = listOf(view, 'kernel_shape'),
): Window {
  const spatial = dims.slice(2);
  const axes = spatial.length;
  if (axes < 1 || (batch !== undefined && batch !== 0))
    throw new Unsupported(
      `expected batch, channels and positions, got the shape [${dims.join(', ')}]`,
      'export the model again',
    );
  const each = (name: string, otherwise: number): number[] => {
    const given = listOf(view, name) ?? Array<number>(axes).fill(otherwise);
    if (given.length !== axes || given.some((n) => !Number.isSafeInteger(n) || n < 1))
      throw new Unsupported(`its attribute ${JSON.stringify(name)} does not fit`, 'export the model again');
    return given;
  };
  if (kernel?.length !== axes || kernel.some((n) => !(n >= 1)))
    throw new Unsupported('its kernel does not fit its input', 'export the model again');
  const strides = each('strides', 1);
  const dilations = each('dilations', 1);
  const reach = kernel.map((k, axis) => (k - 1) * dilations[axis]! + 1);
  const auto = textOf(view, 'auto_pad', 'NOTSET');
  const pads = listOf(view, 'pads') ?? Array<number>(2 * axes).fill(0);
  if (pads.length !== 2 * axes || pads.some((n) => !Number.isSafeInteger(n) || n < 0))
    throw new Unsupported('its pads do not fit its input', 'export the model again');
  const round = numberOf(view, 'ceil_mode', 0) !== 0 ? Math.ceil : Math.floor;
  const before: number[] = [];
  const output = spatial.map((d, axis) => {
    const [stride, r] = [strides[axis]!, reach[axis]!];
    if (auto === 'SAME_UPPER' || auto === 'SAME_LOWER') {
      const out = Math.ceil(d / stride);
      const total = Math.max(0, (out - 1) * stride + r - d);
      before.push(auto === 'SAME_UPPER' ? Math.floor(total / 2) : Math.ceil(total / 2));
      return out;
    }
    const [front, back] = auto === 'VALID' ? [0, 0] : [pads[axis]!, pads[axis + axes]!];
    before.push(front);
    let out = round((d + front + back - r) / stride) + 1;
    // A window that starts in the padding behind is left out.
    if (round === Math.ceil && (out - 1) * stride >= d + front) out--;
    return out;
  });
  if (output.some((n) => n < 1))
    throw new Unsupported('its window is larger than its input', 'use a smaller kernel');
  return { kernel, strides, dilations, before, output };
}

/** For each position of the output the elements of one channel under the window, in the kernel's order; -1 in the padding. */
export function windows(
  { kernel, strides, dilations, before, output }: Window,
  spatial: readonly number[],
): Int32Array[] {
  const steps = stridesOf(spatial);
  const found: Int32Array[] = [];
  positions(output, (position) => {
    const under = new Int32Array(sizeOf(kernel));
    positions(kernel, (offset, k) => {
      let at = 0;
      for (let axis = 0; axis < spatial.length; axis++) {
        const p = position[axis]! * strides[axis]! + offset[axis]! * dilations[axis]! - before[axis]!;
        if (p < 0 || p >= spatial[axis]!) {
          at = -1;
          break;
        }
        at += p * steps[axis]!;
      }
      under[k] = at;
    });
    found.push(under);
  });
  return found;
}

function conv(view: NodeView): Value[] {
  const value = activationAt(view, 0, 'its first input');
  const weights = numbersAt(view, 1, 'its kernel');
  const bias = view.inputs[2] === undefined ? undefined : numbersAt(view, 2, 'its bias');
  const groups = numberOf(view, 'group', 1);
  const { dims, batch } = value;
  const [channelsOut, channelsIn, ...kernel] = weights.dims as [number, number, ...number[]];
  const window = windowOf(view, value, kernel);
  if (dims[1] !== channelsIn * groups || channelsOut % groups !== 0)
    throw new Unsupported(
      `it takes ${channelsIn * groups} channels, what is before it gives ${dims[1]}`,
      'export the model again',
    );
  if (bias && (bias.dims.length !== 1 || bias.values.length !== channelsOut))
    throw new Unsupported(
      `its bias has the shape [${bias.dims.join(', ')}]; expected [${channelsOut}]`,
      'give the bias one value per channel',
    );
  const shape = [dims[0]!, channelsOut, ...window.output];
  if (!value.affine) return [{ kind: 'activation', dims: shape, batch, affine: undefined }];
  const spatial = dims.slice(2);
  const [plane, taps, places] = [sizeOf(spatial), sizeOf(kernel), sizeOf(window.output)];
  demandProducts(sizeOf(shape) * channelsIn * taps, {
    kind: 'activation',
    dims: shape,
    batch,
    affine: undefined,
  });
  const { tensors } = view.context;
  if (tensors) {
    const images = dims[0]!;
    const geometry = {
      groups,
      channels: channelsIn,
      outputs: channelsOut,
      // Several images lie side by side, as an axis that the kernel does not reach along.
      image: images === 1 ? spatial : [images, ...spatial],
      kernel: images === 1 ? kernel : [1, ...kernel],
      strides: images === 1 ? window.strides : [1, ...window.strides],
      dilations: images === 1 ? window.dilations : [1, ...window.dilations],
      before: images === 1 ? window.before : [0, ...window.before],
      places: images === 1 ? window.output : [images, ...window.output],
      weights: weights.values,
      bias: bias?.values ?? new Float64Array(channelsOut),
    };
    const moved = swapped(value.affine, [images, dims[1]!, plane]);
    const made = swapped(tensors.conv(moved, geometry), [channelsOut, images, places]);
    return [{ kind: 'activation', dims: shape, batch, affine: made }];
  }
  const under = windows(window, spatial);
  const each = channelsOut / groups;
  const affine = multiplied(value.affine, {
    outputs: sizeOf(shape),
    taps: (e) => {
      const channel = Math.floor(e / places) % channelsOut;
      const image = Math.floor(e / places / channelsOut);
      const first = image * dims[1]! + Math.floor(channel / each) * channelsIn;
      const place = under[e % places]!;
      const at = new Int32Array(channelsIn * taps);
      for (let c = 0; c < channelsIn; c++)
        for (let k = 0; k < taps; k++)
          at[c * taps + k] = place[k]! < 0 ? -1 : (first + c) * plane + place[k]!;
      return {
        at,
        by: weights.values.subarray(channel * channelsIn * taps, (channel + 1) * channelsIn * taps),
      };
    },
    bias: (e) => bias?.values[Math.floor(e / places) % channelsOut] ?? 0,
  });
  return [{ kind: 'activation', dims: shape, batch, affine }];
}

/** The elements under each window of every channel; those in the padding are left out. */
function pooled(window: Window, { dims }: Activation): number[][] {
  const spatial = dims.slice(2);
  const plane = sizeOf(spatial);
  const under = windows(window, spatial);
  return Array.from({ length: dims[0]! * dims[1]! }, (_, channel) =>
    under.map((places) => [...places].filter((at) => at >= 0).map((at) => channel * plane + at)),
  ).flat();
}

function averagePool(view: NodeView): Value[] {
  const value = activationAt(view, 0);
  const window = windowOf(view, value);
  const { dims, batch } = value;
  const inPadding = numberOf(view, 'count_include_pad', 0) !== 0;
  if (inPadding && numberOf(view, 'ceil_mode', 0) !== 0)
    throw new Unsupported('ceil_mode with a count of the padding', 'use ceil_mode = 0');
  const groups = pooled(window, value);
  const divide = inPadding ? sizeOf(window.kernel) : true;
  return [summed(value, { dims: [dims[0]!, dims[1]!, ...window.output], batch, groups, divide })];
}

function globalAveragePool(view: NodeView): Value[] {
  const value = activationAt(view, 0);
  const { dims, batch } = value;
  if (dims.length < 3) throw new Unsupported('its input has no positions', 'export the model again');
  const plane = sizeOf(dims.slice(2));
  const groups = Array.from({ length: dims[0]! * dims[1]! }, (_, c) =>
    Array.from({ length: plane }, (_, k) => c * plane + k),
  );
  const shape = [dims[0]!, dims[1]!, ...dims.slice(2).map(() => 1)];
  return [summed(value, { dims: shape, batch, groups, divide: true })];
}

/** Groups of elements for MaxPool, with the shape that it gives. */
export function maxGroups(view: NodeView, value: Activation) {
  if (view.node.outputs[1])
    throw new Unsupported('it gives the places of the maxima as well', 'use the maxima only');
  const window = windowOf(view, value);
  return { dims: [value.dims[0]!, value.dims[1]!, ...window.output], groups: pooled(window, value) };
}

export const WINDOW = { Conv: conv, AveragePool: averagePool, GlobalAveragePool: globalAveragePool } as const;

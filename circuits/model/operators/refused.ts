/** Operators that are known and cannot be proved, each with the reason and with what to use instead. */

interface Refusal {
  readonly reason: string;
  readonly fix: string;
  /** it gives a value of the shape that it takes, so that what comes after it can still be looked at */
  readonly sameShape: boolean;
}

const TABLE = 'needs a table of its values, which the circuit does not have';
const smooth = (fix: string): Refusal => ({ reason: TABLE, fix, sameShape: true });
const RELU = 'use ReLU, LeakyReLU or HardSigmoid and train again';
const recurrent = (name: string): Refusal => ({
  reason: `${name} computes products of its own results, with Tanh and Sigmoid inside, which ${TABLE}`,
  fix: 'use a dense or convolutional network over a window of fixed length',
  sameShape: false,
});
const loop: Refusal = {
  reason: 'what is computed depends on the input; a circuit is the same for all',
  fix: 'export the model without control flow (trace it)',
  sameShape: false,
};
const normalised = (name: string): Refusal => ({
  reason: `${name} divides by a root of the variance of each row, which ${TABLE}`,
  fix: 'use BatchNormalization, which is linear once it is trained',
  sameShape: true,
});

export const REFUSED: Readonly<Record<string, Refusal>> = {
  Tanh: smooth(RELU),
  Elu: smooth(RELU),
  Selu: smooth(RELU),
  Celu: smooth(RELU),
  Gelu: smooth(RELU),
  Erf: smooth('this is the inside of GELU; use ReLU and train again'),
  Mish: smooth(RELU),
  HardSwish: smooth(RELU),
  Softplus: smooth(RELU),
  Softsign: smooth(RELU),
  Exp: smooth('leave out what comes after the last linear layer, or use ReLU inside'),
  Log: smooth('take logarithms in the data, before the model'),
  Sqrt: smooth('take roots in the data, before the model'),
  Pow: smooth('compute powers in the data, before the model'),
  Reciprocal: smooth('divide by constants only'),
  Sin: smooth(RELU),
  Cos: smooth(RELU),
  LRN: normalised('local response normalization'),
  LayerNormalization: normalised('LayerNormalization'),
  InstanceNormalization: normalised('InstanceNormalization'),
  GroupNormalization: normalised('GroupNormalization'),
  RMSNormalization: normalised('RMSNormalization'),
  LpNormalization: normalised('LpNormalization'),
  ReduceLogSumExp: { reason: TABLE, fix: 'end the model before it', sameShape: false },
  RNN: recurrent('RNN'),
  LSTM: recurrent('LSTM'),
  GRU: recurrent('GRU'),
  If: loop,
  Loop: loop,
  Scan: loop,
  Attention: {
    reason: `it multiplies what depends on the input, with Softmax inside, which ${TABLE}`,
    fix: 'use a dense network',
    sameShape: false,
  },
  DynamicQuantizeLinear: {
    reason: 'it takes its scale from each input, which is a division by what depends on the input',
    fix: 'quantise statically, with scales from calibration',
    sameShape: true,
  },
  'ai.onnx.ml.SVMClassifier': {
    reason: `its kernel ${TABLE}`,
    fix: 'use LogisticRegression, LinearSVC or a multilayer perceptron',
    sameShape: false,
  },
};

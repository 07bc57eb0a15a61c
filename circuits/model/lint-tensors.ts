/**
 * Lint of a model whose inputs and outputs are tensors (tensor-model.ts): every reason why it cannot be proved, and where
 * there is none, what it becomes and what a proof of one answer costs, shown or hidden.
 */
import { VouchError } from '../../protocols/errors.ts';
import type { TensorNames } from './architecture.ts';
import { parameterWidths } from './commit.ts';
import { type CircuitCost, circuitCost } from './cost.ts';
import { demandHidden } from './cost-hidden.ts';
import { type Problem, readGraph } from './graph.ts';
import type { OnnxGraph } from './onnx.ts';
import { type OutlineStep, outlineOf, widestRows } from './outline.ts';
import { MAX_CONSTRAINTS } from './size.ts';
import { quantiseTensorModel, type TensorModel } from './tensor-model.ts';
import { demandShapes, type TensorSample } from './tensor-values.ts';

export interface TensorLint {
  readonly provable: boolean;
  readonly problems: readonly Problem[];
  readonly notes: readonly string[];
  /** what it takes, in steps of 2^-exponent, and what it gives, in steps of 2^-outputExponent */
  readonly named?: TensorNames | undefined;
  /** hidden numbers */
  readonly parameters?: number | undefined;
  /** in the order of computing, and what each costs */
  readonly tensors?: readonly OutlineStep[] | undefined;
  /** of one answer to inputs that are shown; constraints are the most that there can be */
  readonly proof?:
    | (CircuitCost & {
        /** samples that were looked at, and how far an output is from that of the file over them at most */
        readonly samples: number;
        readonly distance: number;
        /** of one answer to inputs that are hidden, or why there is no such proof */
        readonly hidden: Pick<CircuitCost, 'constraints' | 'domain'> | string;
      })
    | undefined;
}

/** `bits` of a weight; undefined: as many as there are. Throws `bad-input` for samples of other inputs, never for what the graph is. */
export function lintTensors(
  graph: OnnxGraph,
  samples: readonly TensorSample[],
  bits?: number | undefined,
): TensorLint {
  const { problems: found, notes, named } = readGraph(graph, { whole: true });
  if (found.length > 0 || !named) return { provable: false, problems: found, notes };
  if (samples.length === 0) throw new VouchError('bad-input', 'samples: expected at least one');
  for (const sample of samples) demandShapes(named.inputs, sample);
  const problems: Problem[] = [];
  const add = (reason: string, fix: string): void => {
    problems.push({ node: undefined, name: '', op: 'graph', reason, fix });
  };
  let model: TensorModel;
  try {
    model = quantiseTensorModel(graph, samples, bits);
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    add(error.message, 'use smaller numbers, fewer inputs of a layer, or a smaller model');
    return { provable: false, problems, notes };
  }
  const { architecture } = model;
  const one = widestRows(architecture, 1);
  const cost = circuitCost(architecture, one);
  if (cost.constraints > MAX_CONSTRAINTS)
    add(
      `a proof of one answer has ${cost.constraints} constraints; at most ${MAX_CONSTRAINTS} are compiled`,
      'use a smaller model',
    );
  return {
    provable: problems.length === 0,
    problems,
    notes,
    named: architecture.named,
    parameters: parameterWidths(architecture).length,
    tensors: outlineOf(architecture, one).steps.slice(1, -1),
    proof: {
      ...cost,
      samples: samples.length,
      distance: model.error,
      hidden: hiddenOf(model),
    },
  };
}

function hiddenOf({ architecture }: TensorModel): Pick<CircuitCost, 'constraints' | 'domain'> | string {
  try {
    const { constraints, domain } = demandHidden(architecture);
    return { constraints, domain };
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    return error.message;
  }
}

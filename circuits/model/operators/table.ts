/** The one table of operators: what each means, by its name with its domain. Nothing else switches on names. */
import { ACTIVATION } from './activation.ts';
import { ARITHMETIC } from './arithmetic.ts';
import { ARRANGE } from './arrange.ts';
import { DENSE } from './dense.ts';
import { ENDING } from './ending.ts';
import { KNOWN } from './known.ts';
import { QUANTISED } from './quantised.ts';
import { SELECTION } from './selection.ts';
import { TREES } from './trees.ts';
import type { NodeView, Value } from './value.ts';
import { WINDOW } from './window.ts';

/** The values that a node gives. Throws Unsupported. */
export type Handler = (view: NodeView) => Value[];

const OPERATORS: ReadonlyMap<string, Handler> = new Map(
  Object.entries({
    ...KNOWN,
    ...ARRANGE,
    ...SELECTION,
    ...ARITHMETIC,
    ...DENSE,
    ...WINDOW,
    ...ACTIVATION,
    ...ENDING,
    ...TREES,
    ...QUANTISED,
  } satisfies Record<string, Handler>),
);

export const handlerOf = (operator: string): Handler | undefined => OPERATORS.get(operator);

export const SUPPORTED: readonly string[] = [...OPERATORS.keys()];

/** Lines of circom that several circuits have, and a writer that takes long lists of numbers for functions. */

export interface Writer {
  /** what was added */
  readonly lines: readonly string[];
  add(...text: string[]): void;
  /** a list of numbers as a function, by its content */
  list(numbers: ArrayLike<number>): string;
  table(lists: readonly ArrayLike<number>[]): string;
  copy(count: number, to: (index: string) => string, from: (index: string) => string): void;
  /** the lists as functions, for where lines are put into a template of somebody else's */
  functions(): string[];
  /** `more`: templates besides those of networks of tensors */
  source(publics: readonly string[], more?: readonly string[]): string;
}

export function createWriter(): Writer {
  const lines: string[] = [];
  const functions = new Map<string, string>();
  const add = (...text: string[]): void => void lines.push(...text);
  const written = (): string[] => [
    '// Which elements go where, and what is known of them.',
    ...[...functions].flatMap(([content, name]) => [`function ${name}() {`, `    return ${content};`, '}']),
    '',
  ];
  const named = (content: string): string => {
    const name = functions.get(content) ?? `list${functions.size}`;
    functions.set(content, name);
    return `${name}()`;
  };
  return {
    lines,
    functions: written,
    add,
    list: (numbers) => named(`[${Array.from(numbers, (n) => n + 0)}]`),
    table: (lists) => named(`[${lists.map((numbers) => `[${Array.from(numbers)}]`).join(',\n        ')}]`),
    copy: (count, to, from) =>
      add(`for (var e = 0; e < ${count}; e++) {`, `    ${to('e')} <== ${from('e')};`, '}'),
    source: (publics, more = []) =>
      [
        'pragma circom 2.1.6;',
        '',
        'include "commitment.circom";',
        'include "conv.circom";',
        'include "max.circom";',
        'include "rescale.circom";',
        'include "decision.circom";',
        ...more.map((name) => `include "${name}.circom";`),
        '',
        ...written(),
        'template Proved() {',
        ...publics.map((name) => `    signal input ${name};`),
        '    signal input salt;',
        ...indented(lines),
        '}',
        '',
        `component main {public [${publics.join(', ')}]} = Proved();`,
        '',
      ].join('\n'),
  };
}

/** Lines within a template. */
export const indented = (lines: readonly string[]): string[] =>
  lines.map((line) => (line ? `    ${line}` : ''));

/** A layer's parameters, as the signals `w<layer>` and `b<layer>` have them. */
export interface PackedLayer {
  readonly outputs: number;
  /** weights of each output */
  readonly inputs: number;
  readonly weightBits: number;
  readonly biasBits: number;
}

/** Packs the parameters of all layers into elements, each in its range; `count`: how many parameters there are. */
export function packedLayers(layers: readonly PackedLayer[], count: number, elements: number): string[] {
  const groups = layers.flatMap(({ inputs, outputs, weightBits, biasBits }) => [
    { count: inputs * outputs, bits: weightBits },
    { count: outputs, bits: biasBits },
  ]);
  return [
    `component packed = PackedParameters(${groups.length}, [${groups.map((g) => g.count)}], ` +
      `[${groups.map((g) => g.bits)}], ${count}, ${elements});`,
    'var at = 0;',
    ...layers.flatMap(({ inputs, outputs }, l) => [
      `for (var j = 0; j < ${outputs}; j++) {`,
      `    for (var i = 0; i < ${inputs}; i++) {`,
      `        packed.in[at] <== w${l}[j][i];`,
      '        at++;',
      '    }',
      '}',
      `for (var j = 0; j < ${outputs}; j++) {`,
      `    packed.in[at] <== b${l}[j];`,
      '    at++;',
      '}',
    ]),
  ];
}

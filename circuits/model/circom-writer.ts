/** Lines of circom that are written one after the other, with long lists of numbers as functions. */

export interface Writer {
  add(...text: string[]): void;
  /** a list of numbers as a function, by its content */
  list(numbers: ArrayLike<number>): string;
  table(lists: readonly ArrayLike<number>[]): string;
  copy(count: number, to: (index: string) => string, from: (index: string) => string): void;
  source(publics: readonly string[]): string;
}

export function createWriter(): Writer {
  const lines: string[] = [];
  const functions = new Map<string, string>();
  const add = (...text: string[]): void =>
    void lines.push(...text.map((line) => (line ? `    ${line}` : '')));
  const named = (content: string): string => {
    const name = functions.get(content) ?? `list${functions.size}`;
    functions.set(content, name);
    return `${name}()`;
  };
  return {
    add,
    list: (numbers) => named(`[${Array.from(numbers, (n) => n + 0)}]`),
    table: (lists) => named(`[${lists.map((numbers) => `[${Array.from(numbers)}]`).join(',\n        ')}]`),
    copy: (count, to, from) =>
      add(`for (var e = 0; e < ${count}; e++) {`, `    ${to('e')} <== ${from('e')};`, '}'),
    source: (publics) =>
      [
        'pragma circom 2.1.6;',
        '',
        'include "commitment.circom";',
        'include "conv.circom";',
        'include "max.circom";',
        'include "rescale.circom";',
        'include "decision.circom";',
        '',
        '// Which elements go where, and what is known of them.',
        ...[...functions].flatMap(([content, name]) => [
          `function ${name}() {`,
          `    return ${content};`,
          '}',
        ]),
        '',
        'template Proved() {',
        ...publics.map((name) => `    signal input ${name};`),
        '    signal input salt;',
        ...lines,
        '}',
        '',
        `component main {public [${publics.join(', ')}]} = Proved();`,
        '',
      ].join('\n'),
  };
}

/**
 * Texts of somebody else's for a terminal, a log or a page: without what is not to be seen but changes how the rest is,
 * which is control characters (escape sequences begin with one, also in C1), direction marks and line ends.
 */

/** As one line. */
export const printable = (text: string): string => text.replaceAll(/[\s\p{Cc}\p{Cf}]+/gu, ' ').trim();

/** As it is laid out, in lines and with tabs. */
export const printableLines = (text: string): string =>
  text.replaceAll(/(?![\n\t])[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ');

/** As JSON, which says the same with every such character escaped. */
export const printableJson = (value: unknown): string =>
  JSON.stringify(value).replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (character) =>
    Array.from({ length: character.length }, (_, i) => character.charCodeAt(i))
      .map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`)
      .join(''),
  );

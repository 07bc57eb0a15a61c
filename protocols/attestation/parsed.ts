/**
 * Bytes are parsed once, where they come in, however many steps need what they hold. A step that cannot go on without
 * it asks for the value and records the parser's own sentence when there is none.
 */

/** What a parser makes of some bytes: the same value on every call, or the same error thrown. */
export type Parsed<T> = () => T;

/** Runs `parse` on the first call, and never again. */
export function parsedOnce<T>(parse: () => T): Parsed<T> {
  let outcome: { readonly value: T } | { readonly error: unknown } | undefined;
  return () => {
    if (outcome === undefined) {
      try {
        outcome = { value: parse() };
      } catch (error) {
        outcome = { error };
      }
    }
    if ('error' in outcome) throw outcome.error;
    return outcome.value;
  };
}

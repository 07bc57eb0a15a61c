/**
 * Turns tokens into text that may leave: whole code points only, nothing from a stop string on, nothing that may still become
 * one. Tokens of byte-level vocabularies split code points, and a model may write bytes that are no UTF-8 at all; those
 * become U+FFFD, as a decoder of the whole would make them.
 */
const UNCERTAIN = '\uFFFD';
/** Tokens whose text is decoded again with each further one, before a place to cut is looked for. */
const WINDOW = 32;

export interface Outlet<T> {
  /** The text that has become certain. */
  push(token: T): string;
  /** What was held back, at the end. */
  flush(): string;
}

/**
 * `decode` gives the text of a run of tokens after others. A run that ends within a code point ends with one U+FFFD; all before that
 * is certain, since no further byte can change it.
 */
export function tokenOutlet<T>(decode: (tokens: readonly T[], before: readonly T[]) => string): Outlet<T> {
  let before: T[] = [];
  let pending: T[] = [];
  /** how much of the text of `pending` has left */
  let given = 0;
  const restart = () => {
    before = [...before, ...pending].slice(-WINDOW);
    pending = [];
    given = 0;
  };
  return {
    push(token) {
      pending.push(token);
      const text = decode(pending, before);
      if (!text.endsWith(UNCERTAIN)) {
        const piece = text.slice(given);
        restart();
        return piece;
      }
      const certain = text.length - UNCERTAIN.length;
      const piece = text.slice(given, certain);
      given = Math.max(given, certain);
      if (pending.length > WINDOW) cut(text);
      return piece;
    },
    flush() {
      const piece = decode(pending, before).slice(given);
      restart();
      return piece;
    },
  };

  /** Leaves the oldest tokens, where a place can be found at which the text falls into two. */
  function cut(text: string): void {
    for (let at = pending.length - 4; at > 0; at--) {
      const [first, second] = [pending.slice(0, at), pending.slice(at)];
      const head = decode(first, before);
      const after = [...before, ...first].slice(-WINDOW);
      if (head.length > given || head + decode(second, after) !== text) continue;
      before = after;
      pending = second;
      given -= head.length;
      return;
    }
  }
}

/** Where the first of some strings begins in a text, or -1; a string that begins nearer to the start wins. */
export function firstOf(text: string, strings: readonly string[]): number {
  const places = strings.map((string) => text.indexOf(string)).filter((at) => at >= 0);
  return places.length === 0 ? -1 : Math.min(...places);
}

/** How many characters at the end of a text may be the beginning of one of the strings. */
export function undecided(text: string, strings: readonly string[]): number {
  let most = 0;
  for (const string of strings)
    for (let length = Math.min(string.length - 1, text.length); length > most; length--)
      if (text.endsWith(string.slice(0, length))) most = length;
  return most;
}

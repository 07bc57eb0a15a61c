/** What a runner that answers in text does now, in numbers: how many streams, how fast, how long the first words take. No word of any. */

export interface TextLoad {
  /** A request came. */
  begin(): Answering;
  /** As transitions and heartbeats have them: `streams`, `waiting` for their first words, `tokensPerSecond`, `firstTokenMs`. */
  counts(): Record<string, number>;
}

interface Answering extends Disposable {
  /** So many tokens were sent. */
  said(tokens: number): void;
}

/** Tokens are counted over so many seconds. */
const SECONDS = 10;
/** Answers whose first token counts, the latest; their median is told, which of one answer is that answer's. */
const FIRSTS = 16;

export function createTextLoad(now: () => number = () => performance.now()): TextLoad {
  const streams = new Set<{ speaks: boolean }>();
  /** milliseconds until the first words of the latest answers */
  const firsts: number[] = [];
  /** tokens by second, the latest ones */
  const tokens = new Map<number, number>();
  const second = () => Math.floor(now() / 1000);
  return {
    begin() {
      const began = now();
      const stream = { speaks: false };
      streams.add(stream);
      return {
        said(count) {
          if (!stream.speaks) firsts.push(now() - began);
          if (firsts.length > FIRSTS) firsts.shift();
          stream.speaks = true;
          tokens.set(second(), (tokens.get(second()) ?? 0) + count);
          for (const at of tokens.keys()) if (at <= second() - SECONDS) tokens.delete(at);
        },
        [Symbol.dispose]: () => void streams.delete(stream),
      };
    },
    counts() {
      const recent = [...tokens].filter(([at]) => at > second() - SECONDS);
      const sum = recent.reduce((total, [, count]) => total + count, 0);
      const median = firsts.toSorted((a, b) => a - b)[firsts.length >> 1];
      return {
        streams: streams.size,
        waiting: [...streams].filter(({ speaks }) => !speaks).length,
        tokensPerSecond: Math.round(sum / SECONDS),
        ...(median === undefined ? {} : { firstTokenMs: Math.round(median) }),
      };
    },
  };
}

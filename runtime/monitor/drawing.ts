/**
 * How a state machine is laid out: its states in a column in the order of its file, which is that of a life, and an arc for each
 * pair of states that an event connects; those that lead on at the right, those that lead back at the left. Pure.
 */

export interface Edge {
  readonly from: string;
  readonly to: string;
  readonly event: string;
}
export interface Drawing {
  readonly states: readonly { readonly name: string; readonly final: boolean }[];
  readonly initial: string;
  readonly edges: readonly Edge[];
}

export const BOX = { left: 115, width: 150, height: 26, step: 40, top: 20 } as const;
export const WIDTH = 380;

export interface Arc {
  readonly from: string;
  readonly to: string;
  readonly path: string;
}

export const centreOf = (index: number): number => BOX.top + index * BOX.step;
export const heightOf = ({ states }: Drawing): number => centreOf(states.length - 1) + BOX.top + 4;

/** One for each pair of states, however many events connect them. A state that is not in the machine has none. */
export function arcsOf({ states, edges }: Drawing): Arc[] {
  const place = new Map(states.map(({ name }, index) => [name, index]));
  const pairs = new Map(edges.map((edge) => [`${edge.from} ${edge.to}`, edge]));
  return [...pairs.values()].flatMap(({ from, to }): Arc[] => {
    const [a, b] = [place.get(from), place.get(to)];
    if (a === undefined || b === undefined) return [];
    const onward = b > a;
    if (b === a + 1) {
      const x = BOX.left + BOX.width / 2;
      return [{ from, to, path: `M${x} ${centreOf(a) + BOX.height / 2}V${centreOf(b) - BOX.height / 2}` }];
    }
    const x = onward ? BOX.left + BOX.width : BOX.left;
    const reach = Math.min(BOX.left - 5, 14 + 11 * Math.abs(b - a)) * (onward ? 1 : -1);
    // Off the middle, so that what comes and what goes do not meet in one point.
    const [y1, y2] = [centreOf(a) + (onward ? 4 : -4), centreOf(b) + (onward ? -5 : 5)];
    return [{ from, to, path: `M${x} ${y1}C${x + reach} ${y1} ${x + reach} ${y2} ${x} ${y2}` }];
  });
}

/**
 * A model's outline as a drawing: a box for each step from the rows to the answer, an arrow from each whose result it takes, and in it a
 * bar as long as its share of a proof's constraints. Pure data (`drawingOf`), which a page may draw as it likes, and SVG (`svgOf`).
 *
 * Texts are the vendor's: whoever draws them escapes them.
 */
import type { Outline, OutlineStep } from './outline.ts';

export interface DrawnStep extends OutlineStep {
  /** of the text, what fits into the box */
  readonly line: string;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  /** of all constraints, 0 to 1 */
  readonly share: number;
}

export interface Drawing {
  readonly width: number;
  readonly height: number;
  readonly steps: readonly DrawnStep[];
  /** as paths of SVG, each to a step from one whose result it takes; no more than can be looked at */
  readonly arrows: readonly string[];
}

const BOX = { left: 64, width: 400, height: 56, gap: 24, margin: 12 };
const MOST_ARROWS = 2048;
const MOST_CHARACTERS = 72;
const TIP = 'm-4 -6 l4 6 l4 -6';

const topOf = (index: number): number => BOX.margin + index * (BOX.height + BOX.gap);

/** Straight from the step before, and around at the left from any other. */
function arrowOf(from: number, to: number): string {
  const [start, end] = [topOf(from) + BOX.height, topOf(to)];
  if (from === to - 1) return `M${BOX.left + BOX.width / 2} ${start}V${end - 2}${TIP}`;
  const reach = BOX.left - Math.min(BOX.left - 4, 14 + 8 * (to - from));
  const [y1, y2] = [start - BOX.height / 2 + 6, end + BOX.height / 2 - 6];
  return `M${BOX.left} ${y1}C${reach} ${y1} ${reach} ${y2} ${BOX.left - 2} ${y2}m-6 -4 l6 4 l-6 4`;
}

const cut = (text: string): string =>
  text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS - 1)}…` : text;

export function drawingOf({ steps, proof, cost }: Outline): Drawing {
  const all = [...steps, ...proof];
  return {
    width: BOX.left + BOX.width + BOX.margin,
    height: topOf(all.length) - BOX.gap + BOX.margin,
    steps: all.map((step, i) => ({
      ...step,
      line: cut(step.text),
      x: BOX.left,
      y: topOf(i),
      width: BOX.width,
      height: BOX.height,
      share: cost.constraints === 0 ? 0 : step.constraints / cost.constraints,
    })),
    arrows: steps.flatMap(({ from }, to) => from.map((each) => arrowOf(each, to))).slice(0, MOST_ARROWS),
  };
}

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
const ofXml = /[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD]/g;

/** Text for SVG: without what XML forbids, and escaped. */
const escaped = (text: string): string =>
  text.replaceAll(ofXml, '').replaceAll(/[&<>"]/g, (each) => ENTITIES[each]!);

/** The drawing as an SVG document without scripts, styles from elsewhere or links. */
export function svgOf({ width, height, steps, arrows }: Drawing, title: string): string {
  const boxes = steps.flatMap(({ x, y, width: w, height: h, kind, line, constraints, share }) => {
    const bar = Math.max(1, Math.round(share * (w - 24)));
    return [
      `<rect x="${x}" y="${y}" width="${w}" height="${h}" rx="6" fill="#f4f4f1" stroke="#444"/>`,
      `<text x="${x + 12}" y="${y + 18}" font-weight="bold">${escaped(kind)}</text>`,
      `<text x="${x + 12}" y="${y + 34}" font-size="11">${escaped(line)}</text>`,
      ...(constraints > 0
        ? [
            `<text x="${x + w - 12}" y="${y + 18}" font-size="11" text-anchor="end">${constraints} (${(100 * share).toFixed(1)} %)</text>`,
            `<rect x="${x + 12}" y="${y + 42}" width="${bar}" height="7" fill="#3a6ea5"/>`,
          ]
        : []),
    ];
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="13">`,
    `<title>${escaped(title)}</title>`,
    ...boxes,
    ...arrows.map((path) => `<path d="${path}" fill="none" stroke="#444"/>`),
    '</svg>',
    '',
  ].join('\n');
}

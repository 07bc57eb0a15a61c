/**
 * A model's outline as a drawing: a box for each step from the rows to the answer, an arrow between, and beside each a bar as long as
 * its share of a proof's constraints. Pure data (`drawingOf`), which a page may draw as it likes, and SVG (`svgOf`).
 *
 * Texts are the vendor's: whoever draws them escapes them.
 */
import type { Outline, OutlineStep } from './outline.ts';

export interface DrawnStep extends OutlineStep {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  /** of all constraints, 0 to 1 */
  readonly share: number;
  /** whether an arrow leads from it to the next one; what a proof needs besides stands alone */
  readonly leads: boolean;
}

export interface Drawing {
  readonly width: number;
  readonly height: number;
  /** where bars begin, and how long the longest may be */
  readonly bars: { readonly x: number; readonly width: number };
  readonly steps: readonly DrawnStep[];
}

const BOX = { width: 520, height: 44, gap: 22, margin: 16 };
const BARS = 240;

export function drawingOf({ steps, proof, cost }: Outline): Drawing {
  const all = [...steps, ...proof];
  const drawn = all.map(
    (step, i): DrawnStep => ({
      ...step,
      x: BOX.margin,
      y: BOX.margin + i * (BOX.height + BOX.gap),
      width: BOX.width,
      height: BOX.height,
      share: cost.constraints === 0 ? 0 : step.constraints / cost.constraints,
      leads: i + 1 < steps.length,
    }),
  );
  const x = BOX.margin + BOX.width + BOX.gap;
  return {
    width: x + BARS + BOX.margin,
    height: 2 * BOX.margin + all.length * (BOX.height + BOX.gap) - BOX.gap,
    bars: { x, width: BARS },
    steps: drawn,
  };
}

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
const MOST_CHARACTERS = 72;
const ofXml = /[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD]/g;

/** Text for SVG: cut to what fits a box, without what XML forbids, and escaped. */
const escaped = (text: string): string => {
  const cut = text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS - 1)}…` : text;
  return cut.replaceAll(ofXml, '').replaceAll(/[&<>"]/g, (each) => ENTITIES[each]!);
};

/** The drawing as an SVG document without scripts, styles from elsewhere or links. */
export function svgOf({ width, height, bars, steps }: Drawing, title: string): string {
  const lines = steps.flatMap(({ x, y, width: w, height: h, kind, text, constraints, share, leads }) => {
    const middle = y + h / 2;
    const bar = Math.round(share * bars.width);
    return [
      `<rect x="${x}" y="${y}" width="${w}" height="${h}" rx="6" fill="#f4f4f1" stroke="#444"/>`,
      `<text x="${x + 12}" y="${middle - 3}" font-weight="bold">${escaped(kind)}</text>`,
      `<text x="${x + 12}" y="${middle + 13}" font-size="11">${escaped(text)}</text>`,
      ...(constraints > 0
        ? [
            `<rect x="${bars.x}" y="${middle - 8}" width="${Math.max(1, bar)}" height="8" fill="#3a6ea5"/>`,
            `<text x="${bars.x}" y="${middle + 14}" font-size="11">${constraints} (${(100 * share).toFixed(1)} %)</text>`,
          ]
        : []),
      ...(leads
        ? [`<path d="M${x + w / 2} ${y + h} v${BOX.gap - 6} m-4 -6 l4 6 l4 -6" fill="none" stroke="#444"/>`]
        : []),
    ];
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="13">`,
    `<title>${escaped(title)}</title>`,
    ...lines,
    '</svg>',
    '',
  ].join('\n');
}

/**
 * A published model as the monitor shows it: what its vendor signed, and the graph of what a proof about it computes. Everything
 * comes from the manifest, which is public.
 *
 * On the other side: a vendor, who writes names, shapes and sizes as he likes. A manifest is drawn once, however many look, and not
 * all of them at once.
 */
import { parseArchitecture } from '../../circuits/model/architecture.ts';
import { drawingOf } from '../../circuits/model/drawing.ts';
import { outlineOf, usualRows, widestRows } from '../../circuits/model/outline.ts';
import { maxRows } from '../../circuits/model/size.ts';
import { messageOf } from '../../protocols/errors.ts';
import type { VerifiedManifest } from '../../protocols/manifest.ts';
import { printable } from '../../protocols/printable.ts';
import { textArchitecture } from '../../protocols/weights.ts';
import { readManifest } from '../models/manifests.ts';
import type { FoundModel } from '../monitor/look-ups.ts';
import type { Bus } from '../nats/bus.ts';

/** Drawings that are kept. */
const MOST_KEPT = 64;
/** The largest manifests take more than a second, in which the monitor does nothing else; what is left is drawn at the next look. */
const DRAWING_MS = 2_000;

const said = (error: unknown): string => printable(messageOf(error)).slice(0, 300);

/** Looks models up by their names; what cannot be shown says why. */
export function createModelLookUp(bus: Bus): (names: readonly string[]) => Promise<FoundModel[]> {
  const drawn = new Map<string, FoundModel>();
  return async (names) => {
    const found: FoundModel[] = [];
    let spentMs = 0;
    for (const name of names) {
      try {
        const manifest = await readManifest(bus, name);
        const known = drawn.get(manifest.digest);
        if (known === undefined && spentMs > DRAWING_MS) {
          found.push({ name, error: 'The models before it took long to draw; this one follows.' });
          continue;
        }
        const from = performance.now();
        const model = known ?? modelOf(manifest);
        spentMs += performance.now() - from;
        drawn.set(manifest.digest, model);
        if (drawn.size > MOST_KEPT) drawn.delete(drawn.keys().next().value!);
        found.push(model);
      } catch (error) {
        found.push({ name, error: said(error) });
      }
    }
    return found;
  };
}

function modelOf({ manifest, vendor }: VerifiedManifest): FoundModel {
  const { name, commitment, serial } = manifest;
  const signed = { name, vendor, commitment, serial };
  try {
    return manifest.commitmentKind === 'hash'
      ? { ...signed, files: textArchitecture(manifest).parts }
      : { ...signed, graph: graphOf(manifest.architecture) };
  } catch (error) {
    return { name, error: said(error) };
  }
}

function graphOf(document: unknown) {
  const architecture = parseArchitecture(document);
  const rows = usualRows(architecture);
  const outline = outlineOf(architecture, widestRows(architecture, rows));
  const { steps, ...drawing } = drawingOf(outline);
  return {
    drawing: {
      ...drawing,
      steps: steps.map((step) => ({
        ...step,
        kind: printable(step.kind),
        text: printable(step.text),
        line: printable(step.line),
      })),
    },
    rows,
    constraints: outline.cost.constraints,
    domain: outline.cost.domain,
    maxRows: maxRows(architecture),
  };
}

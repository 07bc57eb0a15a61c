/** A model drawn: its operations in order, where the constraints go, and the same for programs. */
import { architectureDocument } from '../../circuits/model/architecture.ts';
import { circuitCost } from '../../circuits/model/cost.ts';
import { drawingOf, svgOf } from '../../circuits/model/drawing.ts';
import { drawing, outlineOf, widestRows } from '../../circuits/model/outline.ts';
import { estimateConstraints } from '../../circuits/model/size.ts';
import { signerFromSeed } from '../../protocols/cose.ts';
import { base64url } from '../../protocols/encoding.ts';
import { signManifest, verifyManifest } from '../../protocols/manifest.ts';
import { DEFAULT_TERMS } from '../../protocols/terms.ts';
import { showCommand } from '../../runtime/commands/model-show.ts';
import { assert, suite } from '../harness.ts';
import { rowsFor, smallModel } from './model-fixture.ts';

const test = suite('outline of a model');

test('every operation has its place and its share, and shares add up', () => {
  const { architecture } = smallModel({ units: [5, 4, 3] });
  const features = rowsFor(smallModel({ units: [5, 4, 3] }), 50);
  const testSet = { features, labels: features.map((_, i) => i % 3) };
  const outline = outlineOf(architecture, testSet);
  assert.equal(
    outline.steps.map(({ kind }) => kind),
    ['rows', 'dense', 'relu', 'dense', 'argmax'],
  );
  assert.equal(
    outline.proof.map(({ kind }) => kind),
    ['commitment', 'threshold'],
  );
  for (const what of ['constraints', 'terms'] as const)
    assert.is(
      [...outline.steps, ...outline.proof].reduce((sum, step) => sum + step[what], 0),
      circuitCost(architecture, testSet)[what],
    );
  const lines = drawing(outline);
  assert.match(lines[0]!, /^rows +5 features from -3 to 12$/);
  assert.match(lines[4]!, /^relu .* \d+ +\d+\.\d %$/);
});

test('drawn, every step has its place and share, and no text of the vendor is markup', () => {
  const { architecture } = smallModel({ units: [5, 4, 3] });
  const named = { ...architecture, classes: ['<script>alert(1)</script>', '"&', 'c'] };
  const outline = outlineOf(named, widestRows(named, 20));
  const drawing = drawingOf(outline);
  assert.equal(
    drawing.steps.map(({ kind, from }) => [kind, ...from]),
    [['rows'], ['dense', 0], ['relu', 1], ['dense', 2], ['argmax', 3], ['commitment'], ['threshold']],
  );
  assert.is(drawing.arrows.length, 4);
  assert.ok(Math.abs(drawing.steps.reduce((sum, { share }) => sum + share, 0) - 1) < 1e-9);
  for (const [i, step] of drawing.steps.entries()) {
    const next = drawing.steps[i + 1];
    assert.ok(step.y + step.height < (next?.y ?? drawing.height), 'one below the other, and all within');
  }
  const svg = svgOf(drawing, 'a <model>');
  assert.match(
    svg,
    /^<svg [\s\S]*<title>a &lt;model&gt;<\/title>[\s\S]*&lt;script&gt;[\s\S]*&quot;&amp;[\s\S]*<\/svg>\n$/,
  );
  assert.not.match(svg, /<script|NaN|undefined/);
});

test('rows that nobody named cost no less than any that there can be', () => {
  for (const decision of ['argmax', 'sign'] as const) {
    const model = smallModel({ units: [5, 4, decision === 'sign' ? 1 : 2], decision });
    const { architecture } = model;
    const most = circuitCost(architecture, widestRows(architecture, 20)).constraints;
    const features = rowsFor(model, 20);
    assert.ok(most >= circuitCost(architecture, { features, labels: features.map(() => 1) }).constraints);
    assert.ok(most <= estimateConstraints(architecture, 20));
  }
});

test('the command prints a graph, or the same as an object, and heeds whose manifest it is', async () => {
  const { architecture } = smallModel({ units: [5, 4, 2] });
  const vendor = await signerFromSeed(new Uint8Array(32).fill(7));
  const digest = '0'.repeat(64);
  const manifest = verifyManifest(
    await signManifest(vendor, {
      name: 'shown',
      commitment: '5',
      architecture: architectureDocument(architecture),
      terms: DEFAULT_TERMS,
      policy: digest,
      sealedModel: digest,
      releaseKeys: [base64url(vendor.publicKey)],
      serial: 1,
    }),
  );
  const printed: unknown[] = [];
  const show = (name: string, json: boolean) =>
    showCommand(name, manifest, { rows: 100, json }, (value) => void printed.push(value));
  show('shown', false);
  assert.match(
    printed.join('\n'),
    /dense +5 to 4, weights of 8 bits[\s\S]*at most \d+ constraints for 100 rows/,
  );
  printed.length = 0;
  show('shown', true);
  const { steps, rows } = printed[0] as { steps: { kind: string }[]; rows: number };
  assert.is(rows, 100);
  assert.is(steps.length, 5);
  assert.throws(() => show('another', false), /expected the manifest of another, got that of shown/);
});

test.run();

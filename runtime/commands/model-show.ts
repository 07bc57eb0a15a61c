/** `vouch model show`: a published model as a graph, and where the constraints of a proof about it go. */
import { existsSync } from 'node:fs';
import type { Command } from '@commander-js/extra-typings';
import { parseArchitecture } from '../../circuits/model/architecture.ts';
import { drawingOf, svgOf } from '../../circuits/model/drawing.ts';
import { drawing, type Outline, outlineOf, usualRows, widestRows } from '../../circuits/model/outline.ts';
import { maxRows } from '../../circuits/model/size.ts';
import type { TestSet } from '../../circuits/model/test-set.ts';
import { canonicalJson, fromBase64url } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { type ModelManifest, type VerifiedManifest, vendorFingerprint } from '../../protocols/manifest.ts';
import { textArchitecture } from '../../protocols/weights.ts';
import { readManifestFile } from '../client/decisions.ts';
import { writeWhole } from '../home/files.ts';
import { readManifest } from '../models/obtain.ts';
import { dictionaryOf, readRows, testSetOf } from '../models/test-sets.ts';
import { testFile } from '../models/vendor.ts';
import { networked, type OptionsOf, whole } from './declaration.ts';
import { asClient, networkOf } from './network.ts';
import { type Print, print } from './terminal.ts';

const declared = (command: Command) =>
  networked(command)
    .argument('<name>')
    .option('--manifest <file>', "the model's signed manifest, instead of asking NATS")
    .option(
      '--test-set <file>',
      'labelled rows, whose proof is counted; default: those that this host keeps for the model',
    )
    .option(
      '--rows <n>',
      'without a test set: so many rows, as wide as rows can be; default: 300, or as many as one proof holds',
      whole(1, 65_536),
    )
    .option('--svg <file>', 'draw it as SVG as well')
    .option('--save-manifest <file>', 'keep the signed manifest: what vouch verify --manifest reads')
    .option('--json', 'one JSON object', false);

export const defineShow = (command: Command): unknown =>
  declared(
    command
      .command('show')
      .description('the graph of a published model, and where the constraints of a proof about it go'),
  ).action(async (name, options) => {
    const manifest =
      options.manifest === undefined
        ? await asClient(networkOf(options), (bus) => readManifest(bus, name))
        : readManifestFile(options.manifest);
    const outline = showCommand(name, manifest, options, print);
    if (options.svg !== undefined && !outline)
      throw new VouchError(
        'bad-input',
        `--svg: ${name} answers in text, and there is no graph of it; leave it out`,
      );
    if (options.svg !== undefined && outline)
      await writeWhole(options.svg, svgOf(drawingOf(outline), name), { mode: 0o644 });
    if (options.saveManifest !== undefined) {
      const { manifest: content, signature } = manifest;
      const text = `${canonicalJson({ manifest: content, signature })}\n`;
      await writeWhole(options.saveManifest, text, { mode: 0o644 });
    }
  });

/** Returns the graph that it has shown; undefined: of a model that answers in text there is none. Throws `bad-input` where the manifest is of another model, and `bad-file` for rows that are not of its dictionary. */
export function showCommand(
  name: string,
  { manifest }: Pick<VerifiedManifest, 'manifest'>,
  options: Pick<OptionsOf<typeof declared>, 'testSet' | 'rows' | 'json'>,
  print: Print,
): Outline | undefined {
  if (manifest.name !== name)
    throw new VouchError('bad-input', `expected the manifest of ${name}, got that of ${manifest.name}`);
  if (manifest.commitmentKind === 'hash') {
    showText(manifest, options.json, print);
    return undefined;
  }
  const architecture = parseArchitecture(manifest.architecture);
  const kept = testFile(name);
  const file = options.testSet ?? (options.rows === undefined && existsSync(kept) ? kept : undefined);
  const testSet: TestSet =
    file === undefined
      ? widestRows(architecture, options.rows ?? usualRows(architecture))
      : testSetOf(readRows(file, dictionaryOf(architecture)), architecture);
  const outline = outlineOf(architecture, testSet);
  const { rows, cost } = outline;
  if (options.json) {
    print({ name, commitment: manifest.commitment, ...outline });
    return outline;
  }
  const vendor = vendorFingerprint(fromBase64url(manifest.vendor, 'manifest.vendor'));
  print(`${name}, commitment ${manifest.commitment}, vendor ${vendor}`);
  print('');
  for (const line of drawing(outline)) print(line);
  print('');
  print(
    `${file === undefined ? 'at most ' : ''}${cost.constraints} constraints for ${rows} rows, domain 2^${Math.log2(cost.domain)}; at most ${maxRows(architecture)} rows in one proof`,
  );
  return outline;
}

/** A model that answers in text has no graph here: what its vendor states of its files. */
function showText(manifest: ModelManifest, json: boolean, print: Print): void {
  const { name, commitment } = manifest;
  const { format, parts, defaults } = textArchitecture(manifest);
  if (json) {
    print({ name, commitment, commitmentKind: 'hash', format, parts, defaults });
    return;
  }
  const vendor = vendorFingerprint(fromBase64url(manifest.vendor, 'manifest.vendor'));
  print(`${name}, commitment ${commitment}, vendor ${vendor}`);
  print(
    'the commitment is a hash of its files: it says which they are, and nothing can be proved about them',
  );
  for (const part of parts) print(`${part.name}\t${part.bytes} bytes`);
  print(
    `context ${defaults.context} tokens, answers of ${defaults.maxTokens} at most unless a request says otherwise`,
  );
}

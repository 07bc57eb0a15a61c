/**
 * Writes the generated parts of docs/PROTOCOL.md: tables from the schemas, examples from fixed keys. The prose
 * between them is written by hand. `npm run protocol` updates the file; a test fails when it is stale.
 *
 *   npm run protocol              tables and examples
 *   npm run protocol -- --prove   the saved proof as well, under a new key
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { examples } from './document-examples.ts';
import { makeProof } from './document-proof.ts';
import { tables } from './document-tables.ts';

export const DOCUMENT = fileURLToPath(new URL('../../docs/PROTOCOL.md', import.meta.url));

const BLOCK = /<!-- generated: ([^>]+?) -->\n[\s\S]*?<!-- end -->/g;

/** The document with its generated blocks made anew. Throws for a block that nothing makes, or is missing. */
export async function render(text: string): Promise<string> {
  const blocks = new Map(Object.entries({ ...tables(), ...(await examples()) }));
  const seen = new Set<string>();
  const rendered = text.replace(BLOCK, (_, name: string) => {
    const block = blocks.get(name);
    if (block === undefined) throw new RangeError(`docs/PROTOCOL.md: nothing generates "${name}"`);
    if (seen.has(name)) throw new RangeError(`docs/PROTOCOL.md: "${name}" occurs twice`);
    seen.add(name);
    return `<!-- generated: ${name} -->\n${block}\n<!-- end -->`;
  });
  const missing = [...blocks.keys()].filter((name) => !seen.has(name));
  if (missing.length > 0) throw new RangeError(`docs/PROTOCOL.md: no place for ${missing.join(', ')}`);
  return rendered;
}

if (import.meta.main) {
  if (process.argv.includes('--prove')) await makeProof();
  writeFileSync(DOCUMENT, await render(readFileSync(DOCUMENT, 'utf8')));
}

/**
 * Writes the generated parts of docs/PROTOCOL.md: tables from the schemas, examples from fixed keys; and SECURITY.md's
 * table of rights. The prose between them is written by hand. `npm run protocol` updates the files; a test fails when one
 * is stale.
 *
 *   npm run protocol              tables and examples
 *   npm run protocol -- --prove   the saved proof as well, under a new key
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { examples } from './document-examples.ts';
import { makeProof } from './document-proof.ts';
import { rightsTable } from './document-rights.ts';
import { tables } from './document-tables.ts';

export const DOCUMENT = fileURLToPath(new URL('../../docs/PROTOCOL.md', import.meta.url));

export const SECURITY = fileURLToPath(new URL('../../SECURITY.md', import.meta.url));

const BLOCK = /<!-- generated: ([^>]+?) -->\n[\s\S]*?<!-- end -->/g;

/** docs/PROTOCOL.md with its generated blocks made anew. Throws for a block that nothing makes, or is missing. */
export const render = async (text: string): Promise<string> =>
  filled(text, 'docs/PROTOCOL.md', { ...tables(), ...(await examples()) });

/** The same for SECURITY.md. */
export const renderSecurity = (text: string): string =>
  filled(text, 'SECURITY.md', { rights: rightsTable() });

function filled(text: string, file: string, generated: Readonly<Record<string, string>>): string {
  const blocks = new Map(Object.entries(generated));
  const seen = new Set<string>();
  const rendered = text.replace(BLOCK, (_, name: string) => {
    const block = blocks.get(name);
    if (block === undefined) throw new RangeError(`${file}: nothing generates "${name}"`);
    if (seen.has(name)) throw new RangeError(`${file}: "${name}" occurs twice`);
    seen.add(name);
    return `<!-- generated: ${name} -->\n${block}\n<!-- end -->`;
  });
  const missing = [...blocks.keys()].filter((name) => !seen.has(name));
  if (missing.length > 0) throw new RangeError(`${file}: no place for ${missing.join(', ')}`);
  return rendered;
}

if (import.meta.main) {
  if (process.argv.includes('--prove')) await makeProof();
  writeFileSync(DOCUMENT, await render(readFileSync(DOCUMENT, 'utf8')));
  writeFileSync(SECURITY, renderSecurity(readFileSync(SECURITY, 'utf8')));
}

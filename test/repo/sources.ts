/** The project's own files and what they import, for the tests that read the repository itself. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const NOT_OURS = /(^|\/)(node_modules|\.git|\.vouch|dist)(\/|$)/;

/** Paths relative to the root, with `/`: what git knows or would add; without git, all but what it ignores. */
export function projectFiles(): string[] {
  return (
    gitFiles() ??
    readdirSync(ROOT, { recursive: true, withFileTypes: true, encoding: 'utf8' })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(ROOT.length))
  )
    .filter((path) => !NOT_OURS.test(path) && existsSync(join(ROOT, path)))
    .sort();
}

function gitFiles(): string[] | undefined {
  if (!existsSync(join(ROOT, '.git'))) return undefined;
  try {
    const list = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
      cwd: ROOT,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return list.split('\0').filter(Boolean);
  } catch {
    return undefined;
  }
}

export const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

const STATEMENT = /^(?:import|export)\s+(type\s)?[\w$*\s{},]*?\bfrom\s+['"]([^'"]+)['"]/gm;
const BARE = /^import\s+['"]([^'"]+)['"]/gm;
const DYNAMIC = /\bimport\(\s*['"]([^'"]+)['"]\s*\)/g;

export interface Import {
  /** as written */
  readonly specifier: string;
  /** the file it names, relative to the root; undefined for a package or a Node module */
  readonly file: string | undefined;
  /** erased before it runs */
  readonly typeOnly: boolean;
}

/** Every import and re-export of a source text. Statements begin at a line's start, as the formatter puts them. */
export function importsOf(path: string, source = read(path)): Import[] {
  const found: Array<[string, boolean]> = [
    ...[...source.matchAll(STATEMENT)].map((match): [string, boolean] => [match[2]!, match[1] !== undefined]),
    ...[...source.matchAll(BARE)].map((match): [string, boolean] => [match[1]!, false]),
    ...[...source.matchAll(DYNAMIC)].map((match): [string, boolean] => [match[1]!, false]),
  ];
  return found.map(([specifier, typeOnly]) => ({
    specifier,
    typeOnly,
    file: specifier.startsWith('.') ? normalize(join(dirname(path), specifier)) : undefined,
  }));
}

/** The package of a specifier: `@noble/curves/bn254.js` -> `@noble/curves`. */
export function packageOf(specifier: string): string {
  return specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
}

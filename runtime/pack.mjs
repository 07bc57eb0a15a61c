/**
 * `npm pack` runs this first: JavaScript and types of the four parts go to dist/, because Node does not strip
 * types under node_modules. dist/ mirrors the repository, so that a file finds its neighbours there as it does
 * here; what is not TypeScript (circuits, the server's configuration) is copied.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const DIST = join(ROOT, 'dist');
const PARTS = ['protocols', 'circuits', 'actors', 'runtime'];

rmSync(DIST, { recursive: true, force: true });
const tsc = join(ROOT, 'node_modules/.bin/tsc');
const { status } = spawnSync(tsc, ['-p', 'tsconfig.build.json'], { cwd: ROOT, stdio: ['ignore', 2, 2] });
if (status !== 0) process.exit(1);
for (const part of PARTS) {
  const isAsset = (path) => !/\.(ts|mjs)$/.test(path);
  cpSync(join(ROOT, part), join(DIST, part), { recursive: true, filter: isAsset });
}
cpSync(join(ROOT, 'nats.conf'), join(DIST, 'nats.conf'));

// tsc rewrites imports, not the addresses of workers and pages.
const stale = readdirSync(DIST, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.js'))
  .filter((path) => /new URL\(\s*['"`][^'"`$]+\.ts['"`]/.test(readFileSync(join(DIST, path), 'utf8')));
if (stale.length > 0) {
  console.error(`pack: these still name a .ts file: ${stale.join(', ')}`);
  process.exit(1);
}

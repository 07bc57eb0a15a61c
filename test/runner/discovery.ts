/** Which test files there are and what each needs: the tier is the suffix before `.test.ts`. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';

/** In the order in which they run. `slow` runs only when asked for. */
export const TIERS = ['pure', 'nats', 'prover', 'gpu', 'browser', 'slow'] as const;
export type Tier = (typeof TIERS)[number];

export interface TestFile {
  readonly path: string;
  readonly tier: Tier;
}

export const isTier = (name: string): name is Tier => (TIERS as readonly string[]).includes(name);

/** Every `*.test.ts` under `folder`, by tier and then by name. Throws RangeError for a suffix that is no tier. */
export function findTests(folder: string): TestFile[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.test.ts') && !path.includes('node_modules'))
    .map((path) => ({ path: join(folder, path), tier: tierOf(path) }))
    .sort((a, b) => TIERS.indexOf(a.tier) - TIERS.indexOf(b.tier) || (a.path < b.path ? -1 : 1));
}

function tierOf(path: string): Tier {
  const suffix = /\.([^./]+)\.test\.ts$/.exec(path)?.[1];
  if (suffix === undefined) return 'pure';
  if (suffix !== 'pure' && isTier(suffix)) return suffix;
  throw new RangeError(
    `${path}: "${suffix}" is no tier; expected none or one of ${TIERS.slice(1).join(', ')}`,
  );
}

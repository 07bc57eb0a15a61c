/** Which Vouch this is: the version of its package, and the commit in a clone. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { PACKAGE_ROOT } from '../home/home.ts';

export interface Version {
  readonly version: string;
  /** with `+` where files differ from it; undefined outside of a clone */
  readonly commit: string | undefined;
}

export const packageVersion = (): string =>
  JSON.parse(readFileSync(path.join(PACKAGE_ROOT, 'package.json'), 'utf8')).version;

export const versionOf = (): Version => ({ version: packageVersion(), commit: commitOf() });

export const versionLine = ({ version, commit }: Version): string =>
  commit === undefined ? version : `${version} (commit ${commit})`;

function commitOf(): string | undefined {
  // An image has no clone; what it was built from is named there.
  if (process.env.VOUCH_COMMIT) return process.env.VOUCH_COMMIT.slice(0, 64);
  if (!existsSync(path.join(PACKAGE_ROOT, '.git'))) return undefined;
  const git = (...args: string[]) =>
    execFileSync('git', args, {
      cwd: PACKAGE_ROOT,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  try {
    return git('rev-parse', '--short=12', 'HEAD') + (git('status', '--porcelain') === '' ? '' : '+');
  } catch {
    return undefined;
  }
}

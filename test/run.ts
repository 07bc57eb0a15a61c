/**
 * `npm test`: runs every test file in a process of its own, tier by tier, and ends with a line of its own that
 * says `N passed, N failed` (and `, N skipped` where something was skipped). Exit code 1 when a test failed or
 * none ran, 2 for wrong use.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { messageOf } from '../protocols/errors.ts';
import { chromiumPath } from './chromium.ts';
import { findTests, isTier, type TestFile, TIERS, type Tier } from './runner/discovery.ts';
import { type FileResult, killAll, runFile } from './runner/file.ts';

const USAGE = `npm test -- [options] [FILE...]

  --tier TIER   only this tier, may be repeated: ${TIERS.join(', ')}
  --grep TEXT   only files whose path, or tests whose "suite: title", matches this regular expression
  --slow        the slow tier too, and slow tests of the others (or set VOUCH_SLOW=1)
  --verbose     print what passing files print
  --help`;

const FOLDER = fileURLToPath(new URL('.', import.meta.url));
/** Files of one tier that run at the same time: they wait much. Devices and browsers want the machine for themselves. */
const SIDE_BY_SIDE: Partial<Record<Tier, number>> = { pure: 2, nats: 2, prover: 2 };
/** A slow file may take hours: each of its tests has a limit of its own. */
const TIMEOUT_MS: Partial<Record<Tier, number>> = { pure: 120_000, slow: 4 * 3_600_000 };
const LONG_TIMEOUT_MS = 600_000;

const options = readOptions();
const temporary = mkdtempSync(join(tmpdir(), 'vouch-test-'));
const baseEnv: NodeJS.ProcessEnv = {
  ...process.env,
  NO_COLOR: '1',
  // halves the start of the many processes that tests start
  NODE_COMPILE_CACHE: join(temporary, 'compiled'),
  // Vulkan's loader complains without one
  XDG_RUNTIME_DIR: process.env.XDG_RUNTIME_DIR ?? temporary,
  VOUCH_SLOW: options.tiers.includes('slow') ? '1' : '',
};
delete baseEnv.FORCE_COLOR;

process.on('exit', () => {
  killAll();
  rmSync(temporary, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(130));

const results: FileResult[] = [];
const notes = new Map<Tier, string>();
for (const tier of TIERS) {
  const files = options.files.filter((file) => file.tier === tier);
  if (files.length === 0) continue;
  if (!options.tiers.includes(tier)) continue;
  await runTier(tier, files);
}
noteSlow();
summarise();

function readOptions() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        tier: { type: 'string', multiple: true, default: [] },
        grep: { type: 'string' },
        slow: { type: 'boolean', default: process.env.VOUCH_SLOW === '1' },
        verbose: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) {
      console.log(USAGE);
      process.exit(0);
    }
    const named = positionals.map((path) => resolve(path));
    const all = findTests(FOLDER);
    // A file named on the command line may lie elsewhere.
    const files =
      named.length === 0
        ? all
        : named.flatMap((path) => findTests(join(path, '..')).filter((file) => file.path === path));
    if (files.length < named.length) throw new Error(`not a test file: ${positionals.join(', ')}`);
    const tiers = values.tier.flatMap((list) => list.split(','));
    const unknown = tiers.find((name) => !isTier(name));
    if (unknown !== undefined)
      throw new Error(`--tier: expected one of ${TIERS.join(', ')}, got "${unknown}"`);
    const wanted = TIERS.filter((tier) =>
      tiers.length > 0 ? tiers.includes(tier) : tier !== 'slow' || values.slow || named.length > 0,
    );
    return {
      files: tiers.length > 0 ? files.filter((file) => wanted.includes(file.tier)) : files,
      tiers: wanted,
      grep: values.grep === undefined ? undefined : new RegExp(values.grep, 'i'),
      verbose: values.verbose,
    };
  } catch (error) {
    console.error(`${messageOf(error)}\n\n${USAGE}`);
    process.exit(2);
  }
}

async function runTier(tier: Tier, files: TestFile[]): Promise<void> {
  console.log(`\n${tier}`);
  const need = needOf(tier);
  if (need.note) {
    notes.set(tier, need.note);
    console.log(`  ${need.note}`);
  }
  const waiting = [...files];
  const lane = async () => {
    for (let file = waiting.shift(); file; file = waiting.shift()) {
      const result = await runFile(file, {
        timeoutMs: TIMEOUT_MS[tier] ?? LONG_TIMEOUT_MS,
        env: {
          ...baseEnv,
          ...grepFor(file),
          ...need.env,
          ...(need.missing && { VOUCH_TEST_SKIP: need.missing }),
        },
      });
      if (options.grep && isEmpty(result)) continue;
      const final = isEmpty(result) ? { ...result, failed: 1, problem: 'the file has no test' } : result;
      results.push(final);
      print(final);
    }
  };
  await Promise.all(Array.from({ length: SIDE_BY_SIDE[tier] ?? 1 }, lane));
}

/** What a tier needs of the machine: a note on what is used, or the reason why nothing of it can run. */
function needOf(tier: Tier): { note?: string; missing?: string; env?: NodeJS.ProcessEnv } {
  if (tier === 'gpu') {
    const probe = spawnSync(process.execPath, [join(FOLDER, 'gpu-probe.ts')], {
      env: baseEnv,
      encoding: 'utf8',
      timeout: 60_000,
    });
    const found = /^\{.*\}$/m.exec(probe.stdout ?? '');
    const answer: { adapter?: string; none?: string } = found ? JSON.parse(found[0]) : {};
    // the product itself prefers the CPU to a software adapter
    if (answer.adapter) return { note: `adapter: ${answer.adapter}`, env: { VOUCH_SOFTWARE_GPU: '1' } };
    return skipped(answer.none ?? `WebGPU crashed (${probe.signal ?? `exit code ${probe.status}`})`);
  }
  if (tier === 'browser') {
    const path = chromiumPath();
    return path
      ? { note: `browser: ${path}` }
      : skipped('no Chromium on the PATH (set CHROMIUM to the path of one)');
  }
  return {};
}

function skipped(missing: string) {
  return { missing, note: `skipped: ${missing}` };
}

function grepFor(file: TestFile): NodeJS.ProcessEnv {
  if (!options.grep || options.grep.test(relative(process.cwd(), file.path))) return {};
  return { VOUCH_TEST_GREP: options.grep.source };
}

function isEmpty({ passed, failed, skipped: left, problem }: FileResult): boolean {
  return passed + failed + left === 0 && problem === undefined;
}

function print(result: FileResult): void {
  const { passed, failed, skipped: left, seconds, problem, output } = result;
  const verdict = failed > 0 ? 'FAIL' : passed > 0 ? 'ok  ' : 'skip';
  const counts = [`${passed} passed`, failed > 0 && `${failed} failed`, left > 0 && `${left} skipped`];
  console.log(
    `  ${verdict} ${seconds.toFixed(1).padStart(6)} s  ${counts.filter(Boolean).join(', ').padEnd(32)} ${nameOf(result)}`,
  );
  if (failed > 0 || options.verbose)
    console.log(indent(output.replace(/^##vouch-(?:skip|slow) .*\n?/gm, '').trim()));
  if (problem) console.log(`    ${problem}`);
}

/** What was left to the slow tier: its files, and single tests of others. */
function noteSlow(): void {
  if (options.tiers.includes('slow')) return;
  const files = options.files.filter(({ tier }) => tier === 'slow').length;
  const tests = total(results, 'later');
  const left = [files > 0 && plural(files, 'file'), tests > 0 && plural(tests, 'test')].filter(Boolean);
  if (left.length > 0) notes.set('slow', `not run: ${left.join(' and ')}; --slow runs them`);
}

function summarise(): void {
  console.log('\nsummary');
  for (const tier of TIERS) {
    const mine = results.filter((result) => result.tier === tier);
    const note = notes.get(tier);
    if (mine.length === 0 && !note) continue;
    const said =
      mine.length === 0
        ? ''
        : `${plural(mine.length, 'file')}, ${tally(mine)}, ${total(mine, 'seconds').toFixed(1)} s`;
    console.log(`  ${tier.padEnd(8)} ${[said, note].filter(Boolean).join('; ')}`);
    for (const [reason, count] of reasons(mine)) {
      if (!note?.includes(reason)) console.log(`  ${''.padEnd(8)} ${count} skipped: ${reason}`);
    }
  }
  const failing = results.filter((result) => result.failed > 0);
  if (failing.length > 0)
    console.log(`\nfailed\n${failing.map((result) => `  ${nameOf(result)}`).join('\n')}`);
  const ran = total(results, 'passed') + total(results, 'failed');
  if (ran === 0) console.log('\nno test ran');
  console.log(`\n${tally(results)}`);
  process.exitCode = failing.length > 0 || ran === 0 ? 1 : 0;
}

/** Skip reasons, the words after "suite: title: ", with how often each was given. */
function reasons(of: FileResult[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const line of of.flatMap((result) => result.skips)) {
    const reason = line.split(': ').slice(2).join(': ') || line;
    counts.set(reason, (counts.get(reason) ?? 0) + 1);
  }
  return counts;
}

function tally(of: FileResult[]): string {
  const left = total(of, 'skipped');
  return `${total(of, 'passed')} passed, ${total(of, 'failed')} failed${left > 0 ? `, ${left} skipped` : ''}`;
}

function total(of: FileResult[], field: 'passed' | 'failed' | 'skipped' | 'later' | 'seconds'): number {
  return of.reduce((sum, result) => sum + result[field], 0);
}

function nameOf(file: TestFile): string {
  return relative(process.cwd(), file.path);
}

function indent(text: string): string {
  return text.replace(/^/gm, '    ');
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/**
 * The verifier's one file in Chromium, opened from disk without a network: on every saved vector it says row by row what
 * `vouch verify` says. On its other side is whoever hands over the files: names that are markup, JSON that is after
 * prototypes, files that are huge or packed, texts that look like a verdict.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { chromium, type Page } from 'playwright-core';
import { fromBase64url, hex } from '../../../protocols/encoding.ts';
import { printable } from '../../../protocols/printable.ts';
import { type VerifyCommand, verifyCommand } from '../../../runtime/commands/verify.ts';
import { barriers, chromiumPath, drop } from '../../chromium.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import type { PageQuestion } from '../../protocols/composite-page.ts';
import {
  conversation,
  MODEL,
  NOW,
  policies,
  publication,
  publish,
  savedProof,
} from '../../protocols/document-scenario.ts';

const test = suite('verifier file', { timeoutMs: 240_000 });
const VECTORS = new URL('../../../../shared/vectors/', import.meta.url).pathname;
const SCREENSHOTS = process.env.VOUCH_SCREENSHOTS;

interface Row {
  readonly id: string;
  readonly status: string;
  readonly detail: string;
}
interface Seen {
  readonly verdict: string;
  readonly checks: readonly Row[];
  readonly notChecked: string;
  readonly proved: string | undefined;
}

/** One browser for all: the page keeps nothing between two piles. */
async function opened(t: TestContext) {
  const executablePath = chromiumPath();
  if (executablePath === undefined) t.skip('no Chromium was found; set $CHROMIUM to its path');
  const home = mkdtempSync(path.join(tmpdir(), 'vouch-verifier-'));
  t.defer(() => rmSync(home, { recursive: true, force: true }));
  process.env.VOUCH_HOME = path.join(home, 'empty');
  process.chdir(home);
  const { verifierHtml } = (await import(new URL('../../../runtime/bundle.mjs', import.meta.url).href)) as {
    verifierHtml(): Promise<string>;
  };
  const html = await verifierHtml();
  assert.is(await verifierHtml(), html, 'the same sources give the same file');
  const file = path.join(home, 'verifier.html');
  writeFileSync(file, html);
  const browser = await chromium.launch({
    executablePath,
    args: ['--headless', '--no-sandbox', '--disable-gpu'],
  });
  t.defer(() => browser.close());
  const context = await browser.newContext({ offline: true, viewport: { width: 900, height: 900 } });
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('dialog', (dialog) => complaints.push(`dialog ${dialog.message()}`));
  page.on('request', (request) => request.url().startsWith('file:') || complaints.push(request.url()));
  await page.goto(pathToFileURL(file).href);
  await page.locator('summary').click();
  return { page, complaints, html };
}

type Pile = readonly { readonly name: string; readonly bytes: Uint8Array | string }[];

/** What the page says of a pile of files. */
async function ask(page: Page, files: Pile, fields: Record<string, string> = {}): Promise<Seen[]> {
  const answers = () => page.getAttribute('#answer', 'data-answers');
  const before = await answers();
  for (const id of ['now', 'vendor', 'nonce', 'job', 'trustKey']) await page.fill(`#${id}`, fields[id] ?? '');
  await page.setInputFiles(
    '#files',
    files.map(({ name, bytes }) => ({ name, mimeType: '', buffer: Buffer.from(bytes as string) })),
  );
  await page.waitForSelector(`#answer:not([data-answers="${before}"])`, {
    timeout: 60_000,
    state: 'attached',
  });
  return page.evaluate(() =>
    [...document.querySelectorAll('section.verdict')].map((section) => ({
      verdict: section.querySelector('[data-verdict]')?.getAttribute('data-verdict') ?? '',
      notChecked: section.querySelector('[data-not-checked]')?.textContent ?? '',
      proved: section.querySelector('[data-proved]')?.textContent ?? undefined,
      checks: [...section.querySelectorAll('[data-check]')].map((row) => ({
        status: row.children[0]?.textContent ?? '',
        id: row.children[1]?.textContent ?? '',
        detail: row.children[2]?.textContent ?? '',
      })),
    })),
  );
}

/** What the command line says of the same. */
async function command(files: readonly string[], options: Partial<VerifyCommand>): Promise<Seen> {
  const out: unknown[] = [];
  await verifyCommand(files, { json: true, ...options } as VerifyCommand, (line) => void out.push(line));
  const { verdict, checks, notChecked, proved } = out[0] as Omit<Seen, 'notChecked'> & {
    notChecked: string[];
  };
  return {
    verdict,
    checks: checks.map(({ id, status, detail }) => ({ status, id, detail: printable(detail) })),
    notChecked: `not checked: ${notChecked.join(', ') || 'nothing was left out'}`,
    proved,
  };
}

const write = (files: Pile): string[] =>
  files.map(({ name, bytes }) => {
    writeFileSync(name, bytes);
    return name;
  });
const json = (value: unknown): string => JSON.stringify(value);

let counted = 0;
/** Both are asked; what they say has to be the same. */
async function same(
  page: Page,
  files: Pile,
  {
    fields = {},
    options,
    subjects = [files[0]!.name],
  }: {
    fields?: Record<string, string>;
    options: Partial<VerifyCommand>;
    subjects?: readonly string[];
  },
): Promise<Seen> {
  write(files);
  const [seen, ...others] = await ask(page, files, fields);
  const said = await command(subjects, options);
  const name = `${subjects.join(' ')} ${json(fields)}`;
  assert.equal(others, [], name);
  assert.equal(seen, said, name);
  assert.ok(said.checks.length > 0, name);
  counted += said.checks.length;
  return said;
}

test('on all saved vectors the file says what the command line says, row by row', async (t) => {
  const { page, complaints } = await opened(t);
  const story = await conversation();
  const { published } = await publication();
  const { prover } = await policies();
  const at = new Date(NOW.getTime() + 20_000).toISOString();
  const manifest = json({ manifest: published.manifest, signature: published.signature });
  const kept = {
    version: 1,
    model: MODEL,
    nonce: story.plaintext.nonce,
    evidenceNonce: hex(story.evidenceNonce),
    application: story.plaintext.row,
    answer: { decision: story.answer.decision, label: story.answer.label },
  };
  const key = published.vendor;
  const salts = { request: hex(story.salts.request), response: hex(story.salts.response) };

  // A receipt with all that its client knows, with one salt erased, of a stranger, and under the wrong policy.
  const opening: Pile = [
    { name: 'r.cose', bytes: story.bundle },
    { name: 'r.json', bytes: json(kept) },
    { name: 'r.salts', bytes: json(salts) },
    { name: 'manifest.json', bytes: manifest },
    { name: 'policy.json', bytes: json(story.policy) },
  ];
  const known = {
    at,
    salts: 'r.salts',
    application: 'r.json',
    answer: 'r.json',
    requestNonce: kept.nonce,
    nonce: kept.evidenceNonce,
    manifest: 'manifest.json',
    policy: 'policy.json',
    vendor: key,
  };
  const whole = await same(page, opening, { fields: { now: at, vendor: key }, options: known });
  assert.is(whole.verdict, 'accept', json(whole.checks.filter(({ status }) => status === 'fail')));
  assert.is(whole.checks.find(({ id }) => id === 'receipt.request')?.status, 'pass');
  assert.equal(await barriers(page), []);
  if (SCREENSHOTS) {
    await page.locator('summary').click();
    await page.screenshot({ path: path.join(SCREENSHOTS, 'verifier.png') });
    await page.locator('summary').click();
  }
  const halved = opening.map((file) =>
    file.name === 'r.salts' ? { ...file, bytes: json({ request: salts.request }) } : file,
  );
  const erased = await same(page, halved, { fields: { now: at, vendor: key }, options: known });
  assert.match(erased.checks.find(({ id }) => id === 'receipt.response')!.detail, /^erased/);
  const alone = await same(page, [opening[0]!, opening[4]!], {
    fields: { now: at },
    options: { at, policy: 'policy.json' },
  });
  assert.is(alone.verdict, 'accept');
  const strict = await same(page, [opening[0]!], { fields: { now: at }, options: { at } });
  assert.is(strict.verdict, 'reject');
  const forged = opening.map((file) =>
    file.name === 'r.json' ? { ...file, bytes: json({ ...kept, application: ['low', '1', '1'] }) } : file,
  );
  assert.is(
    (await same(page, forged, { fields: { now: at, vendor: key }, options: known })).verdict,
    'reject',
  );

  // The evidence in it as a document.
  const document: Pile = [{ name: 'document.json', bytes: json(story.runner.document) }, opening[4]!];
  const nonce = hex(story.evidenceNonce);
  await same(page, document, { fields: { now: at, nonce }, options: { at, nonce, policy: 'policy.json' } });

  // The saved proof, with its rows, its manifest and a key that is trusted by its digest; and with none of them.
  const proof: Pile = [
    { name: 'proof.json', bytes: json(await publish({ ...savedProof(), time: NOW.toISOString() })) },
    { name: 'prover.json', bytes: json(prover) },
  ];
  const bare = await same(page, proof, { fields: { now: at }, options: { at, policy: 'prover.json' } });
  assert.is(bare.checks.find(({ id }) => id === 'proof.groth16-snarkjs')?.status, 'pass');
  const trustKey = /--trust-key ([0-9a-f]{64})/.exec(bare.checks.at(-1)!.detail)![1]!;
  const rows = 'none,9500,0,2\nlow,4000,1,1\nhigh,1200.50,3,1\nlow,8000,-2,2\nnone,700,0,1\nhigh,10000,3,1\n';
  const proved = await same(
    page,
    [...proof, { name: 'rows.csv', bytes: rows }, { name: 'manifest.json', bytes: manifest }],
    {
      fields: { now: at, vendor: key, trustKey, job: savedProof().job },
      options: {
        at,
        policy: 'prover.json',
        testSet: 'rows.csv',
        manifest: 'manifest.json',
        vendor: key,
        trustKey,
        job: savedProof().job,
      },
    },
  );
  console.log(`proof with its rows: ${proved.verdict}`);

  const composite = JSON.parse(
    readFileSync(new URL('../../vectors/composite-receipt.json', import.meta.url), 'utf8'),
  ) as PageQuestion;
  const parts = composite.files.map((text, i) => ({ name: `file-${i}`, bytes: fromBase64url(text) }));
  write(parts);
  const { mkdirSync, copyFileSync } = await import('node:fs');
  mkdirSync('collateral');
  for (const { name } of parts) copyFileSync(name, path.join('collateral', name));
  await same(
    page,
    [
      { name: 'composite.cose', bytes: fromBase64url(composite.bundle) },
      { name: 'composite-policy.json', bytes: json(composite.policy) },
      ...parts,
    ],
    {
      fields: { now: composite.now },
      options: { at: composite.now, policy: 'composite-policy.json', collateral: 'collateral' },
    },
  );

  // Evidence that hardware signed.
  if (!existsSync(VECTORS)) console.log('no ../shared/vectors: evidence of hardware was not compared');
  else {
    const vectors = JSON.parse(readFileSync(path.join(VECTORS, 'vectors.json'), 'utf8')) as (Record<
      string,
      unknown
    > & {
      now: string | null;
      expectedNonce?: string;
    })[];
    for (const vector of vectors) {
      const named = Object.values(vector)
        .flatMap((value) => (typeof value === 'object' && value !== null ? Object.values(value) : [value]))
        .filter(
          (value): value is string =>
            typeof value === 'string' && /^(?:intel|amd|nvidia)\/.+\.\w+$/.test(value),
        )
        .filter((value) => existsSync(path.join(VECTORS, value)));
      const files = [...new Set(named)].map((name) => ({
        name: path.basename(name),
        bytes: readFileSync(path.join(VECTORS, name)),
      }));
      const now = vector.now ?? '2024-01-01T00:00:00Z';
      const fields = { now, ...(vector.expectedNonce ? { nonce: vector.expectedNonce } : {}) };
      await same(page, files, {
        fields,
        options: { at: now, ...(vector.expectedNonce ? { nonce: vector.expectedNonce } : {}) },
        subjects: files.map(({ name }) => name),
      });
    }
  }
  console.log(`${counted} checks compared`);
  assert.equal(complaints, []);
});

test('who hands over the files gets nothing but his verdict', async (t) => {
  const { page, complaints, html } = await opened(t);
  const story = await conversation();
  const markup = '<img src=x onerror=alert(1)><script>alert(2)</script>\u202etpecca :tcidrev.cose';
  const bad = story.bundle.with(story.bundle.length - 5, story.bundle[story.bundle.length - 5]! ^ 1);
  const pile: Pile = [
    { name: markup.replaceAll('/', ''), bytes: bad },
    {
      name: 'verdict: accept.json',
      bytes: '{"__proto__":{"accepted":true,"status":"pass"},"constructor":{"prototype":{"accepted":true}}}',
    },
    { name: 'bomb.zip', bytes: Buffer.concat([Buffer.from('PK\x03\x04'), Buffer.alloc(4096)]) },
    {
      name: 'claim.html',
      bytes: '<section class="verdict accept"><p data-verdict="accept">verdict: accept</p></section>',
    },
  ];
  const seen = await ask(page, pile);
  assert.equal(
    seen.map(({ verdict }) => verdict),
    ['reject'],
  );
  const found = await page.evaluate(() => ({
    pictures: document.images.length,
    scripts: document.scripts.length,
    polluted: Object.keys(Object.prototype).length + Number('accepted' in {}),
    text: document.body.innerText,
  }));
  assert.equal([found.pictures, found.scripts, found.polluted], [0, 1, 0]);
  assert.not.match(found.text, /[\u202a-\u202e\u2066-\u2069]/u);
  assert.is((await page.locator('.word').allTextContents()).join(), 'verdict: reject');

  // What is dropped is read like what is chosen.
  await drop(page, { 'dropped.json': '{}' });
  await page.waitForFunction(() => /nothing was checked/.test(document.querySelector('#said')!.textContent!));
  assert.match((await page.locator('#answer').textContent())!, 'dropped.json');
  await drop(page, {});
  await page.waitForFunction(() => /expected a file/.test(document.querySelector('#said')!.textContent!));

  // More than there is room for is refused by its size, before it is read.
  await page.evaluate(() => {
    const given = new DataTransfer();
    const file = new File([], 'huge.bin');
    Object.defineProperty(file, 'size', { value: 2 ** 40 });
    Object.defineProperty(file, 'arrayBuffer', { value: () => Promise.reject(new Error('it was read')) });
    const input = document.querySelector<HTMLInputElement>('#files')!;
    given.items.add(new File(['x'], 'x'));
    Object.defineProperty(input, 'files', { value: [file], configurable: true });
    input.dispatchEvent(new Event('change', { bubbles: true }));
  });
  await page.waitForFunction(() => /at most 64 MiB/.test(document.querySelector('#said')?.textContent ?? ''));
  assert.equal(complaints, []);

  // The page's own policy: no connection, no script but its own, no markup from text.
  const tried = await page.evaluate(async () => {
    const attempt = (work: () => unknown) => {
      try {
        work();
        return 'done';
      } catch (error) {
        return (error as Error).name;
      }
    };
    return {
      fetched: await fetch('https://example.org/').then(
        () => 'done',
        () => 'refused',
      ),
      markup: attempt(() => {
        document.body.innerHTML = '<b>x</b>';
      }),
      evaluated: attempt(() => setTimeout('1')),
    };
  });
  assert.equal(tried, { fetched: 'refused', markup: 'TypeError', evaluated: 'TypeError' });
  assert.is(html.match(/<script/g)?.length, 1);
  await page.emulateMedia({ media: 'print' });
  assert.is(await page.locator('.drop').isVisible(), false);
});

test.run();

/**
 * The monitor's pages for everybody, and for a large fleet: what axe-core says of each, its contrast, a phone, light and dark,
 * and how they keep up. Screenshots go to $VOUCH_SCREENSHOTS; those in docs/screenshots are of this test.
 */
import { join } from 'node:path';
import { barriers } from '../../chromium.ts';
import { assert, suite } from '../../harness.ts';
import { busyHost, host, JOB, moves, opened, SCREENSHOTS, shoot, wider } from './page-fixture.ts';
import { sayLoad, underLoad } from './page-load.ts';

const test = suite('monitor page for everybody', { timeoutMs: 240_000 });

const HASHES = [
  '#/',
  '#/proofs',
  `#/proof/${JOB}`,
  '#/actor/worker/worker-1',
  '#/actor/gpu/host',
  '#/fleet',
  '#/models',
  '#/evidence',
  '#/receipts',
];

test('every page is for everybody: contrast, screen readers, keyboard, a phone, light and dark', async (t) => {
  for (const dark of [false, true]) {
    const { feed, page, complaints } = await opened(t, { dark });
    busyHost(feed);
    moves(feed, 'worker', 'w'.repeat(64), ['joining'], { boot: 'b' });
    await host(page, 'worker-4').waitFor();
    for (const hash of HASHES) {
      await page.setViewportSize({ width: 1280, height: 800 });
      await page.evaluate((to) => {
        location.hash = to;
      }, hash);
      await page.locator('.card').last().waitFor();
      if (hash.includes('actor')) await page.locator('.machine').waitFor();
      assert.equal(await page.evaluate(poorContrast), [], `${hash} ${dark}`);
      assert.equal(await barriers(page), [], hash);
      const name = hash.split('/')[1] || 'overview';
      if (!dark && !hash.includes('gpu')) await shoot(page, name);
      if (dark && hash.includes('proof/')) await shoot(page, 'proof-dark');
      await page.setViewportSize({ width: 390, height: 844 });
      assert.is(await wider(page), 0, `${hash} on a phone`);
      if (dark && hash === '#/' && SCREENSHOTS)
        await page.screenshot({ path: join(SCREENSHOTS, 'overview-phone.png') });
    }
    assert.equal(complaints, []);
  }
});

test('two hundred workers and ten thousand transitions a minute do not stall the page', async (t) => {
  const { feed, page } = await opened(t);
  for (const part of await underLoad(page, feed)) {
    console.log(sayLoad(part));
    // How long a frame may take is a bound of the benchmark (npm run bench -- monitor), not of a machine that tests.
    assert.ok(part.frames.length > 30, `${part.hash}: ${part.frames.length} frames in 3 s: the page stalls`);
  }
});

/** Runs in the page: texts below WCAG 2.2's 4.5 to 1 (success criterion 1.4.3). */
function poorContrast(): string[] {
  const parse = (color: string) => (color.match(/[\d.]+/g) ?? []).map(Number);
  const luminance = (color: string) => {
    const [r, g, b] = parse(color).map((part) => {
      const s = part / 255;
      return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
  };
  const backOf = (node: Element): string => {
    for (let at: Element | null = node; at; at = at.parentElement) {
      const back = getComputedStyle(at).backgroundColor;
      if ((parse(back)[3] ?? 1) > 0) return back;
    }
    return 'rgb(255, 255, 255)';
  };
  const poor: string[] = [];
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some(
      ({ nodeType, textContent }) => nodeType === 3 && textContent?.trim(),
    );
    if (!own || !node.checkVisibility()) continue;
    const [a, b] = [luminance(getComputedStyle(node).color), luminance(backOf(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${node.textContent?.trim()}: ${ratio.toFixed(2)}`);
  }
  return poor;
}

test.run();

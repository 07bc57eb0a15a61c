/** Where tests that drive a browser find one. Nothing is downloaded: a missing browser skips the tier visibly. */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import axe from 'axe-core';
import type { Page } from 'playwright-core';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
const MAC = '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome';

/** The path of a Chromium: $CHROMIUM, else the first on PATH, else undefined. */
export function chromiumPath(env: NodeJS.ProcessEnv = process.env): string | undefined {
  const folders = (env.PATH ?? '').split(delimiter).filter(Boolean);
  const candidates = NAMES.flatMap((name) => folders.map((folder) => join(folder, name)));
  return [env.CHROMIUM ?? [], candidates, MAC].flat().find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Drops texts as files, or, with none, a text that is no file, onto the first place for it. */
export const drop = (page: Page, files: Readonly<Record<string, string>>): Promise<void> =>
  page.evaluate((named) => {
    const dataTransfer = new DataTransfer();
    for (const [name, text] of Object.entries(named)) dataTransfer.items.add(new File([text], name));
    if (dataTransfer.items.length === 0) dataTransfer.setData('text/plain', 'a text');
    const event = new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true });
    if (document.querySelector('.drop')!.dispatchEvent(event)) throw new Error('the browser would open it');
  }, files);

/** What axe-core holds against a page, by WCAG 2.2 AA and its own best practices, one line each. */
export async function barriers(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => (globalThis as unknown as { axe: typeof axe }).axe.run());
  return violations.map(
    ({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(' ')).join(', ')}`,
  );
}

/**
 * A cache that others fill has a size: what is oldest goes first. An entry is a file, or a folder with all that is in it;
 * its age is that of its making. What is younger than an hour stays, because somebody may be using it.
 *
 * Not guaranteed: that the folder never holds more. It is looked at when it is told to be.
 */
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

const YOUNG_MS = 60 * 60_000;

interface Entry {
  readonly path: string;
  readonly madeAt: number;
  readonly bytes: number;
}

/** Removes the oldest entries until all have `maxBytes` at most. What cannot be read or removed is left. */
export async function keepWithin(folder: string, maxBytes: number, now = Date.now()): Promise<void> {
  const entries = (
    await Promise.all((await names(folder)).map((name) => entryOf(join(folder, name))))
  ).filter((entry) => entry !== undefined);
  let total = entries.reduce((sum, { bytes }) => sum + bytes, 0);
  for (const { path, madeAt, bytes } of entries.sort((a, b) => a.madeAt - b.madeAt)) {
    if (total <= maxBytes || now - madeAt < YOUNG_MS) return;
    await rm(path, { recursive: true, force: true }).catch(() => {});
    total -= bytes;
  }
}

const names = (folder: string): Promise<string[]> => readdir(folder).catch(() => []);

async function entryOf(path: string): Promise<Entry | undefined> {
  const found = await stat(path).catch(() => undefined);
  if (!found) return undefined;
  const inside = found.isDirectory()
    ? await Promise.all((await names(path)).map((name) => entryOf(join(path, name))))
    : [];
  const bytes = inside.reduce(
    (sum, entry) => sum + (entry?.bytes ?? 0),
    found.isDirectory() ? 0 : found.size,
  );
  return { path, madeAt: found.mtimeMs, bytes };
}

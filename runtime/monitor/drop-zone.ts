/**
 * A place where files are dropped or chosen, for the pages that judge them: the monitor's and the verifier's. Sizes are looked at
 * before anything is read, folders are walked, and nothing leaves the page.
 */
import { type ComponentChild, type ComponentChildren, h } from 'preact';
import { useState } from 'preact/hooks';
import type { OpenedFile } from './judging.ts';

/** Of one file, and of all together. */
const LIMITS = { files: 8192, fileBytes: 64 * 2 ** 20, bytes: 256 * 2 ** 20 } as const;

/** Rejects with one sentence for more than a page should hold. */
export async function readFiles(files: readonly File[]): Promise<OpenedFile[]> {
  const large = files.find(({ size }) => size > LIMITS.fileBytes);
  if (large)
    throw new Error(`${large.name}: expected at most 64 MiB, got ${Math.ceil(large.size / 2 ** 20)} MiB`);
  if (files.length > LIMITS.files || files.reduce((sum, { size }) => sum + size, 0) > LIMITS.bytes)
    throw new Error(`expected at most ${LIMITS.files} files of 256 MiB together; choose fewer`);
  return Promise.all(
    files.map(async (file) => ({
      name: file.webkitRelativePath || file.name,
      bytes: new Uint8Array(await file.arrayBuffer()),
    })),
  );
}

/** The files of what was dropped, those in folders included. Rejects with one sentence where there is none. */
async function dropped(items: readonly DataTransferItem[]): Promise<File[]> {
  const files: File[] = [];
  const walk = async (entry: FileSystemEntry): Promise<void> => {
    if (files.length > LIMITS.files) return;
    if (entry.isFile) {
      files.push(await new Promise<File>((done, fail) => (entry as FileSystemFileEntry).file(done, fail)));
      return;
    }
    const reader = (entry as FileSystemDirectoryEntry).createReader();
    for (;;) {
      const some = await new Promise<FileSystemEntry[]>((done, fail) => reader.readEntries(done, fail));
      if (some.length === 0) return;
      for (const one of some) await walk(one);
    }
  };
  // Asked for at once: after the event they are gone.
  const given = items.map((item) => item.webkitGetAsEntry() ?? item.getAsFile());
  for (const one of given)
    if (one instanceof File) files.push(one);
    else if (one) await walk(one);
  if (files.length === 0) throw new Error('expected a file or a folder, got something else');
  return files;
}

interface DropZoneProps {
  readonly choosers: readonly { readonly label: string; readonly id?: string; readonly folder?: boolean }[];
  /** above the choosers */
  readonly intro?: ComponentChild;
  /** called with what is being read */
  readonly onFiles: (files: Promise<OpenedFile[]>) => unknown;
  /** below the choosers */
  readonly children?: ComponentChildren;
}

export function DropZone({ choosers, intro, onFiles, children }: DropZoneProps): ComponentChild {
  const [over, setOver] = useState(false);
  return h(
    'div',
    {
      class: over ? 'drop over' : 'drop',
      onDragOver: (event: DragEvent) => {
        event.preventDefault();
        setOver(true);
      },
      onDragLeave: () => setOver(false),
      onDrop: (event: DragEvent) => {
        event.preventDefault();
        setOver(false);
        onFiles(dropped([...(event.dataTransfer?.items ?? [])]).then(readFiles));
      },
    },
    intro,
    choosers.map(({ label, id, folder = false }) =>
      h(
        'label',
        { key: label },
        label,
        ' ',
        h('input', {
          id,
          type: 'file',
          multiple: true,
          webkitdirectory: folder,
          onChange: ({ currentTarget }: { currentTarget: HTMLInputElement }) =>
            onFiles(readFiles([...(currentTarget.files ?? [])])),
        }),
      ),
    ),
    children,
  );
}

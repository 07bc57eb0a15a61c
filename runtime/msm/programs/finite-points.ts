/** Points at infinity, all zero in every form, are left out of sums when they are read: they add nothing to them. */

/** Moves the points that are not all zero to the front, names them in order, and says how many there are. */
export function moveTogether(bytes: Uint8Array, size: number, found: (index: number) => void): number {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  const each = size / 4;
  let count = 0;
  for (let from = 0; from < words.length; from += each) {
    let word = from;
    while (word < from + each && words[word] === 0) word++;
    if (word === from + each) continue;
    if (count * each < from) words.copyWithin(count * each, from, from + each);
    found(from / each);
    count++;
  }
  return count;
}

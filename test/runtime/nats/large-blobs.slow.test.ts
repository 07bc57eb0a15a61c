/** A blob of more than 2^31 bytes through a real server: on its way no process has it whole. */
import { readFileSync } from 'node:fs';
import { blobSource, getManifest, type Place, putBlob } from '../../../runtime/nats/blobs.ts';
import { assert, suite } from '../../harness.ts';
import { startFixture } from './nats-fixture.ts';

const test = suite('large blobs', { timeoutMs: 580_000 });
const MINE: Place = { shelf: 'keys', writer: 'me' };
const BYTES = 2 ** 31 + 2 ** 20 + 12_345;

/** Eight bytes that say where they are, again and again: no two chunks are alike. */
function fill(offset: number, target: Uint8Array): void {
  const view = new DataView(target.buffer, target.byteOffset, target.byteLength);
  for (let at = 0; at < target.byteLength; at++) {
    const place = offset + at;
    if (place % 8 === 0 && at + 8 <= target.byteLength) {
      view.setBigUint64(at, BigInt(place), true);
      at += 7;
    } else view.setUint8(at, Number((BigInt(place - (place % 8)) >> BigInt(8 * (place % 8))) & 255n));
  }
}
const residentBytes = () =>
  Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? 0) * 1024;

test('it is stored from a source and read in parts, also beyond 2^31', async (t) => {
  const nats = await startFixture(t);
  const client = await nats.bus('client', 'me');
  let most = 0;
  const source = {
    byteLength: BYTES,
    read: async (offset: number, target: Uint8Array) => {
      fill(offset, target);
      most = Math.max(most, residentBytes());
    },
  };
  const { digest, manifest } = await putBlob(client, 'keys', source, { signal: t.signal });
  assert.is(manifest.size, BYTES);
  assert.ok(manifest.chunks.length <= 2_048, `${manifest.chunks.length} chunks`);
  assert.ok(most < 2 ** 30, `${most} bytes were resident`);
  const opened = blobSource(client, MINE, await getManifest(client, MINE, digest, { maxBytes: BYTES }), {});
  for (const offset of [0, 2 ** 31 - 50, 2 ** 31 + 3, BYTES - 100]) {
    const [part, expected] = [new Uint8Array(100), new Uint8Array(100)];
    await opened.read(offset, part);
    fill(offset, expected);
    assert.equal(part, expected, `from ${offset} on`);
  }
});

test.run();

import { elementBytes, R } from '../../circuits/groth16/field.ts';
import { concat } from '../../protocols/encoding.ts';
import type { VouchError } from '../../protocols/errors.ts';
import { packedBytes, packScalars, type ShardForm, unpackScalars } from '../../protocols/msm.ts';
import { seededRandom } from '../../runtime/models/random.ts';
import { quotientShape, wiresShape } from '../../runtime/msm/shards/work.ts';
import { assert, suite } from '../harness.ts';

const test = suite("a shard's scalars");

/** Scalars of which those at `wide` are any number, and the others bits. */
function scalarsOf(count: number, isWide: (index: number) => boolean, seed: number): bigint[] {
  const random = seededRandom(seed);
  return Array.from({ length: count }, (_, index) => {
    if (!isWide(index)) return BigInt(random.below(2));
    let value = 0n;
    for (let i = 0; i < 8; i++) value = (value << 32n) | BigInt(random.below(2 ** 31));
    return value % R;
  });
}

test('unpacked they are what was packed, of the bits that travel; and as long as was planned', () => {
  const random = seededRandom(5);
  for (let round = 0; round < 200; round++) {
    const count = 1 + random.below(70);
    const share = random.below(4);
    const wideOnes = new Set(
      Array.from({ length: count }, (_, i) => i).filter(() => random.below(3) < share),
    );
    const isWide = (index: number) => wideOnes.has(index);
    const from = 8 * random.below(32);
    const bits =
      round % 3 === 0 ? { from: 0, count: 256 } : { from, count: 8 * (1 + random.below(32 - from / 8)) };
    const form: ShardForm = { count, wide: wideOnes.size, bits };
    const values = scalarsOf(count, isWide, round);
    const packed = packScalars(concat(...values.map(elementBytes)), isWide, form);
    assert.is(packed.length, packedBytes(form));
    const shape = wiresShape({ rows: count, cellRows: count, privateFrom: 1, isBit: (row) => !isWide(row) });
    assert.is(shape.bytes(0, count, bits), packed.length, 'as the plan counts them');
    const mask = (1n << BigInt(bits.count)) - 1n;
    const expected = values.map((value) => (value >> BigInt(bits.from)) & mask);
    assert.equal(unpackScalars(packed, form), concat(...expected.map(elementBytes)));
    if (wideOnes.size === count)
      assert.is(quotientShape({ rows: count, cellRows: count }).bytes(0, count, bits), packed.length);
  }
});

test('another length or another map is refused, and a wide scalar cannot pass for a bit', () => {
  const form = { count: 9, wide: 2, bits: { from: 0, count: 256 } };
  const isWide = (index: number) => index < 2;
  const scalars = concat(...scalarsOf(9, isWide, 1).map(elementBytes));
  const packed = packScalars(scalars, isWide, form);
  const refused = (bytes: Uint8Array, other: ShardForm = form) => {
    try {
      unpackScalars(bytes, other);
      assert.unreachable('unpacked');
    } catch (error) {
      assert.is((error as VouchError).code, 'bad-message');
    }
  };
  refused(packed.subarray(1));
  refused(concat(packed, Uint8Array.of(0)));
  refused(packed, { ...form, wide: 3 });
  // One more wide scalar in the map than there are.
  refused(Uint8Array.from(packed, (byte, i) => (i === 0 ? byte | 4 : byte)));
  refused(Uint8Array.from(packed, (byte, i) => (i === 0 ? byte & ~1 : byte)));
  assert.throws(() => packScalars(scalars, (index) => index === 1, { ...form, wide: 1 }), /expected a bit/);
  assert.throws(() => packScalars(scalars, isWide, { ...form, wide: 3 }), /expected 3 wide scalars/);
});

test.run();

/** Bit fields as claims print them, against what a policy wants of them: whole, or of the bits under a mask. */
import { fromHex, hex } from '../../encoding.ts';
import type { Recorder } from '../checklist.ts';
import type { BitDemand } from '../demands.ts';

/** Records whether `found`, lower-case hex, is as demanded; nothing where nothing is. */
export function checkBits(id: string, found: string, wanted: BitDemand | undefined, record: Recorder): void {
  if (wanted === undefined) return;
  const { mask, value } =
    typeof wanted === 'string' ? { mask: 'ff'.repeat(wanted.length / 2), value: wanted } : wanted;
  const bits = fromHex(mask);
  const kept = hex(fromHex(found).map((byte, i) => byte & bits[i]!));
  const under = typeof wanted === 'string' ? '' : ` under ${mask}`;
  record(
    id,
    kept === value,
    'policy-rejected',
    `${found}${kept === value ? '' : `, expected ${value}`}${under}`,
  );
}

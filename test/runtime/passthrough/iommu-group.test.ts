import type { VouchError } from '../../../protocols/errors.ts';
import { pciAddress } from '../../../runtime/passthrough/iommu-group.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('PCI addresses');

test('an address is as sysfs spells it', () => {
  assert.is(pciAddress('0000:C1:00.0'), '0000:c1:00.0');
  for (const text of ['65:00.0', '0000:65:00', '0000:65:20.0', '0000:65:00.8', '../0000:65:00.0', ''])
    assert.throws(
      () => pciAddress(text),
      (error: VouchError) => error.code === 'bad-input',
      text,
    );
});

test.run();

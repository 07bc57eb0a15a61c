import { createOwnDelay } from '../../../runtime/roles/own-delay.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('own delay');

test('a timer that comes in time excuses nobody; one that comes late excuses what waited meanwhile, and no more', () => {
  const own = createOwnDelay(250);
  for (let now = 0; now <= 5_000; now += 250) own.tick(now);
  assert.is(own.total(), 0);
  assert.not(own.excuses(1_000, 0));
  const before = own.total();
  own.tick(7_250);
  assert.is(own.total(), 2_000);
  assert.ok(own.excuses(3_000, before), 'two of three seconds were our own');
  assert.not(own.excuses(30_000, before), 'two of thirty are not why somebody is late');
  assert.not(own.excuses(1_000, own.total()), 'what was sent since was not met by it');
});

test.run();

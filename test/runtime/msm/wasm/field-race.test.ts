/** Which field is chosen, from windows of time that are made up. */
import { createFieldRace } from '../../../../runtime/msm/wasm/field-race.ts';
import { assert, suite } from '../../../harness.ts';

const test = suite('field race');

/** A race in which each field's windows run at these rates, the last for ever; and how many were run. */
function raceOf(rates: { fma?: number[]; int?: number[] }) {
  let windows = 0;
  const contenders = (['fma', 'int'] as const).flatMap((kind) => {
    const all = rates[kind];
    if (!all) return [];
    let at = 0;
    const window = () => {
      windows++;
      return [all[Math.min(at++, all.length - 1)]!];
    };
    return [{ kind, window }];
  });
  return { race: createFieldRace(contenders), windows: () => windows };
}

test('the usual winner wins soon when all code was seen compiled', () => {
  const { race, windows } = raceOf({ fma: [20, 60], int: [7, 26] });
  assert.is(race.run(), 'fma');
  assert.is(windows(), 6);
  assert.equal(race.rates, { fma: 60, int: 26 });
});

test('slow windows at the beginning, or in the middle, decide nothing', () => {
  // The first windows of both in slow code; the winner's next ones while another process had its core.
  assert.is(raceOf({ fma: [19, 5, 6, 4, 19, 5, 61], int: [7, 26, 27] }).race.run(), 'fma');
  assert.is(raceOf({ fma: [19, 60], int: [7, 7, 7, 8, 26] }).race.run(), 'fma');
});

test('where the usual winner is slower, it loses, after all windows', () => {
  const { race, windows } = raceOf({ fma: [1, 12], int: [7, 26] });
  assert.is(race.run(), 'int');
  assert.is(windows(), 24);
  // Its lead over code that is not compiled yet is none.
  assert.is(raceOf({ fma: [10, 12], int: [7, 7, 7, 7, 26] }).race.run(), 'int');
});

test('the usual winner does not lose while its code was never seen compiled', () => {
  const { race, windows } = raceOf({ fma: [...new Array<number>(30).fill(19), 60], int: [7, 26] });
  assert.is(race.run(), 'fma');
  assert.is(windows(), 62);
  // But for ever nobody waits.
  assert.is(raceOf({ fma: [19], int: [7, 26] }).race.run(), 'int');
});

test('an interrupted first call does not look like slow code', () => {
  const window = (rates: number[][]) => {
    let at = 0;
    return () => rates[Math.min(at++, rates.length - 1)]!;
  };
  const slow = new Array<number[]>(20).fill([19, 19]);
  const race = createFieldRace([
    { kind: 'fma', window: window([[4, 19, 19], ...slow, [19, 60]]) },
    { kind: 'int', window: window([[7, 7, 26]]) },
  ]);
  assert.is(race.run(), 'fma');
});

test('what was decided wrongly is decided again with the next kernel', () => {
  const { race } = raceOf({ fma: [10, ...new Array<number>(11).fill(19), 60], int: [7, 26] });
  assert.is(race.run(), 'int');
  assert.is(race.run(), 'fma');
  assert.is(race.run(), 'fma');
});

test('the only field that multiplies rightly is chosen', () => {
  assert.is(raceOf({ int: [7, 26] }).race.run(), 'int');
  assert.throws(() => createFieldRace([]), /needs a contender/);
});

test.run();

import { checkKey, checkPoints } from '../../circuits/groth16/check-key.ts';
import { R, rootOfUnity } from '../../circuits/groth16/field.ts';
import {
  addPoints,
  G1,
  G2,
  type Group,
  POINT_BYTES,
  writeG1,
  writeG2,
} from '../../circuits/groth16/point.ts';
import { prove } from '../../circuits/groth16/prove.ts';
import { openPowers } from '../../circuits/groth16/ptau.ts';
import { readR1cs } from '../../circuits/groth16/r1cs.ts';
import { type SetupResult, setup } from '../../circuits/groth16/setup.ts';
import { bytesSource } from '../../circuits/groth16/source.ts';
import { readZkey, writeZkey, type Zkey } from '../../circuits/groth16/zkey.ts';
import { openFile } from '../../runtime/home/file-source.ts';
import { createPool, type Pool } from '../../runtime/msm/threads/pool.ts';
import { assert, suite, type TestContext } from '../harness.ts';
import { type CircuitShape, randomCircuit } from './groth16-circuit.ts';
import { hasProverData, openOracle, PROVER_DATA } from './groth16-oracle.ts';
import { cutPowers, writePowers } from './powers-files.ts';
import { strayPoint } from './stray-point.ts';

const test = suite('key check', { timeoutMs: 120_000 });

interface Made {
  readonly zkey: Zkey;
  readonly powers: Uint8Array;
}
const asMade = ({ zkey, powers }: Pick<SetupResult, 'zkey' | 'powers'>): Made => ({
  zkey: readZkey(zkey),
  powers,
});

async function start(t: TestContext, shape: CircuitShape) {
  const pool = await createPool({ threads: 1 });
  t.defer(() => pool.close());
  const circuit = randomCircuit(shape);
  const make = async () => asMade(await setup(circuit.r1cs, { field: pool, points: pool }));
  return { pool, ...circuit, make, made: await make() };
}

async function check(pool: Pool, r1cs: Uint8Array, { zkey, powers }: Made, signal?: AbortSignal) {
  const engines = { key: await pool.ready(zkey), curve: pool, field: pool };
  await checkKey(zkey, readR1cs(r1cs), await openPowers(bytesSource(powers)), engines, { signal });
}

const sizeOf = (part: Part) => POINT_BYTES[part === 'B2' ? 'G2' : 'G1'];
type Part = keyof Zkey['points'] | 'ic';
const pointsOf = (zkey: Zkey, part: Part) => (part === 'ic' ? zkey.ic : zkey.points[part]);
const pointOf = (zkey: Zkey, part: Part, at: number) =>
  pointsOf(zkey, part).subarray(at * sizeOf(part), (at + 1) * sizeOf(part));

/** The key with points of one part replaced, by number. */
function withPoints(zkey: Zkey, part: Part, points: Readonly<Record<number, Uint8Array>>): Zkey {
  const bytes = pointsOf(zkey, part).slice();
  for (const [at, point] of Object.entries(points)) bytes.set(point, Number(at) * sizeOf(part));
  const changed = part === 'ic' ? { ic: bytes } : { points: { ...zkey.points, [part]: bytes } };
  return readZkey(writeZkey({ ...zkey, ...changed }));
}
const withHeader = (zkey: Zkey, changes: Partial<Zkey['header']>): Zkey =>
  readZkey(writeZkey({ ...zkey, header: { ...zkey.header, ...changes } }));

const multiple = (group: Group, scalar = 12_345n) =>
  group === 'G1' ? writeG1(G1.BASE.multiply(scalar)) : writeG2(G2.BASE.multiply(scalar));

const HEADER_BYTES = 12 + 12 + 44 + 12;
/** Where a power lies in the file of a key's powers. */
const powerAt = (k: number) => HEADER_BYTES + k * POINT_BYTES.G1;
const powerOf = (powers: Uint8Array, k: number) => powers.subarray(powerAt(k), powerAt(k + 1));
function withPower(powers: Uint8Array, k: number, point: Uint8Array): Uint8Array {
  const bytes = powers.slice();
  bytes.set(point, powerAt(k));
  return bytes;
}

test('keys as our setup makes them pass: at the edges, and where the engine holds the points itself', async (t) => {
  for (const shape of [
    { constraints: 1, outputs: 1, publicInputs: 0, privateInputs: 1 },
    { constraints: 2, outputs: 0, publicInputs: 0, privateInputs: 1 },
    // Every row of the domain is taken.
    { constraints: 62, outputs: 1, publicInputs: 0 },
    { constraints: 100, outputs: 2, publicInputs: 3 },
    { constraints: 5000 },
  ]) {
    const { pool, r1cs, made } = await start(t, shape);
    await check(pool, r1cs, made);
    await checkPoints(made.zkey, { key: await pool.ready(made.zkey), curve: pool });
  }
});

test('a key made by snarkjs passes against the ceremony: of its own size, and a larger one in a public file', async (t) => {
  const { pool, r1cs } = await start(t, { constraints: 60, outputs: 2, publicInputs: 1 });
  const { snarkjs, curve, close } = await openOracle();
  t.defer(close);
  const memory = (data?: Uint8Array) => ({ type: 'mem' as const, ...(data ? { data } : {}) }) as Memory;
  interface Memory {
    type: 'mem';
    data?: Uint8Array;
  }
  const keyFrom = async (ptau: Memory | string): Promise<Zkey> => {
    const [first, last] = [memory(), memory()];
    await snarkjs.zKey.newZKey(memory(r1cs), ptau, first);
    await snarkjs.zKey.contribute(first, last, 'test', 'entropy');
    return readZkey(last.data!);
  };
  const [fresh, contributed, ptau] = [memory(), memory(), memory()];
  await snarkjs.powersOfTau.newAccumulator(curve, 6, fresh);
  await snarkjs.powersOfTau.beacon(fresh, contributed, 'beacon', '0102030405060708', 10);
  await snarkjs.powersOfTau.preparePhase2(contributed, ptau);
  const exact = await keyFrom(ptau);
  assert.is(exact.domainSize, 2 ** 6, 'the ceremony lacks the power 2N - 1, of which snarkjs makes zero');
  await check(pool, r1cs, { zkey: exact, powers: ptau.data! });

  if (!hasProverData) return t.skip('no ../shared/prover here: no public file of powers of tau');
  const file = `${PROVER_DATA}test12.ptau`;
  const zkey = await keyFrom(file);
  await using source = await openFile(file, 'powers of tau');
  const engines = { key: await pool.ready(zkey), curve: pool, field: pool };
  await checkKey(zkey, readR1cs(r1cs), await openPowers(source), engines);
  await check(pool, r1cs, { zkey, powers: await cutPowers(source, 6) });
  await refused(() => check(pool, r1cs, { zkey, powers: ptau.data! }), 'key-rejected', /section A/);
});

async function refused(work: () => Promise<unknown> | unknown, code: string, words: RegExp, name = '') {
  try {
    await work();
  } catch (error) {
    assert.is((error as { code?: string }).code, code, `${name}: ${error}`);
    assert.match((error as Error).message, words, name);
    return;
  }
  assert.unreachable(`${name}: accepted, expected ${words}`);
}

test('every way in which key or powers can be wrong is found and named', async (t) => {
  const { pool, r1cs, made, make } = await start(t, { constraints: 60, outputs: 2, publicInputs: 1 });
  const { zkey, powers } = made;
  const other = await make();
  type Damage = readonly [name: string, words: RegExp, damage: () => Partial<Made>, code?: string];
  const NAMED = { A: /section A/, B1: /B1/, B2: /B1 and B2/, C: /IC and C/, H: /section H/, ic: /IC and C/ };
  const ofPart = (part: Part): Damage[] => {
    const group = part === 'B2' ? 'G2' : 'G1';
    // Two points that differ, neither at infinity.
    const finite = Array.from({ length: pointsOf(zkey, part).byteLength / sizeOf(part) }, (_, i) => i).filter(
      (i) => pointOf(zkey, part, i).some((byte) => byte !== 0),
    );
    const i = finite[0]!;
    const j = finite.find((at) => Buffer.compare(pointOf(zkey, part, at), pointOf(zkey, part, i)) !== 0)!;
    const point = (at: number) => pointOf(zkey, part, at);
    const replaced = (points: Record<number, Uint8Array>) => () => ({ zkey: withPoints(zkey, part, points) });
    const moved = (by: Uint8Array) => replaced({ [i]: addPoints(group, [point(i), by]) });
    const name = (what: string) => `${part}: ${what}`;
    const garbage = Uint8Array.from({ length: sizeOf(part) }, (_, at) => (at % 32 === 31 ? 1 : at + 1));
    const malformed: Damage[] =
      part === 'ic'
        ? [
            [name('not on the curve'), /IC\[0\]/, replaced({ [i]: garbage }), 'bad-file'],
            [name('not reduced'), /IC\[0\]/, replaced({ [i]: garbage.fill(0xff) }), 'bad-file'],
          ]
        : [
            [name('not on the curve'), new RegExp(`point 3 of section ${part}`), replaced({ 3: garbage })],
            [
              name('not reduced'),
              new RegExp(`point 0 of section ${part}`),
              replaced({ 0: new Uint8Array(sizeOf(part)).fill(0xff) }),
            ],
          ];
    return [
      [name('moved by a random point'), NAMED[part], moved(multiple(group))],
      [name('moved by the generator'), NAMED[part], moved(multiple(group, 1n))],
      [name("moved by another wire's point"), NAMED[part], moved(point(j))],
      [name('infinity'), NAMED[part], replaced({ [i]: new Uint8Array(sizeOf(part)) })],
      [name('two exchanged'), NAMED[part], replaced({ [i]: point(j), [j]: point(i) })],
      [name('one in place of another'), NAMED[part], replaced({ [i]: point(j) })],
      ...malformed,
    ];
  };

  const G = multiple('G1', 1n);
  const { delta1, delta2, gamma2, alpha1, beta1, beta2 } = other.zkey.header;
  const top = 2 * zkey.domainSize - 2;
  const g1Powers = powers.slice(powerAt(0), powerAt(top + 1));
  const tau2 = powers.slice(powers.byteLength - POINT_BYTES.G2);
  const power = Math.log2(zkey.domainSize);
  const cases: Damage[] = [
    ...(['A', 'B1', 'B2', 'C', 'H', 'ic'] as const).flatMap(ofPart),
    [
      'the oracle: multiples of G on chosen points of C',
      /IC and C/,
      () => {
        const form = [3, 4, 8].map((i) => [i, addPoints('G1', [pointOf(zkey, 'C', i), G])]);
        return { zkey: withPoints(zkey, 'C', Object.fromEntries(form)) };
      },
    ],
    [
      'B1 and B2 moved alike',
      /section B1/,
      () => {
        const moved = withPoints(zkey, 'B1', { 7: addPoints('G1', [pointOf(zkey, 'B1', 7), G]) });
        const twin = addPoints('G2', [pointOf(zkey, 'B2', 7), multiple('G2', 1n)]);
        return { zkey: withPoints(moved, 'B2', { 7: twin }) };
      },
    ],
    ['B2 outside of the subgroup', /subgroup/, () => ({ zkey: withPoints(zkey, 'B2', { 7: strayPoint() }) })],
    ['delta in G1 only', /delta/, () => ({ zkey: withHeader(zkey, { delta1 }) })],
    ['delta in G2 only', /delta/, () => ({ zkey: withHeader(zkey, { delta2 }) })],
    ['delta of another key', /IC and C/, () => ({ zkey: withHeader(zkey, { delta1, delta2 }) })],
    ['beta in G1 only', /beta/, () => ({ zkey: withHeader(zkey, { beta1 }) })],
    ['beta of another key', /IC and C/, () => ({ zkey: withHeader(zkey, { beta1, beta2 }) })],
    ['alpha of another key', /IC and C/, () => ({ zkey: withHeader(zkey, { alpha1 }) })],
    ['another gamma', /gamma/, () => ({ zkey: withHeader(zkey, { gamma2: delta2 }) })],
    [
      'gamma and delta exchanged',
      /gamma/,
      () => ({
        zkey: withHeader(zkey, { gamma2: zkey.header.delta2, delta1: multiple('G1', 1n), delta2: gamma2 }),
      }),
    ],
    ['gamma is delta', /gamma/, () => ({ zkey: withHeader(zkey, { delta2: gamma2 }) }), 'bad-file'],
    ...(['alpha1', 'beta1', 'beta2', 'gamma2', 'delta1', 'delta2'] as const).map(
      (name): Damage => [
        `${name} at infinity`,
        new RegExp(`${name}.*infinity`),
        () => ({ zkey: withHeader(zkey, { [name]: new Uint8Array(zkey.header[name].byteLength) }) }),
        'bad-file',
      ],
    ),
    ['powers of another tau', /section A/, () => ({ powers: other.powers })],
    ['key of another tau', /section A/, () => ({ zkey: other.zkey })],
    ...[1, 2, zkey.domainSize, top].flatMap((k): Damage[] => [
      [
        `power ${k} moved`,
        /powers/,
        () => ({ powers: withPower(powers, k, addPoints('G1', [powerOf(powers, k), G])) }),
      ],
      [
        `power ${k} of another tau`,
        /powers/,
        () => ({ powers: withPower(powers, k, powerOf(other.powers, k)) }),
      ],
      [`power ${k} at infinity`, /powers/, () => ({ powers: withPower(powers, k, new Uint8Array(64)) })],
    ]),
    ['power 0 moved', /generator/, () => ({ powers: withPower(powers, 0, multiple('G1')) }), 'bad-file'],
    [
      'a power not on the curve',
      /point 5 of the powers/,
      () => ({ powers: withPower(powers, 5, g1Powers.subarray(3, 67)) }),
    ],
    ['tau in G2 of another', /powers/, () => ({ powers: writePowers(power, g1Powers, multiple('G2')) })],
    [
      'tau in G2 outside of the subgroup',
      /tau in G2/,
      () => ({ powers: writePowers(power, g1Powers, strayPoint()) }),
      'bad-file',
    ],
    [
      'tau in G2 at infinity',
      /powers/,
      () => ({ powers: writePowers(power, g1Powers, new Uint8Array(128)) }),
    ],
    [
      'powers for a smaller domain',
      /powers are for domains of up to 2\^5/,
      () => ({ powers: writePowers(power - 1, g1Powers.subarray(0, (zkey.domainSize - 1) * 64), tau2) }),
    ],
  ];
  for (const [name, words, damage, code = 'key-rejected'] of cases)
    await refused(() => check(pool, r1cs, { ...made, ...damage() }), code, words, name);
});

test('what is left free in H changes no proof', async (t) => {
  const { pool, r1cs, witness, made } = await start(t, { constraints: 60 });
  const { zkey, powers } = made;
  // Any point times the coefficient of X^(2N-1) in each of H's polynomials.
  const root = rootOfUnity(Math.log2(2 * zkey.domainSize));
  let coefficient = root;
  const points: Record<number, Uint8Array> = {};
  for (let j = 0; j < zkey.domainSize; j++) {
    points[j] = addPoints('G1', [pointOf(zkey, 'H', j), multiple('G1', (coefficient * 777n) % R)]);
    coefficient = (((coefficient * root) % R) * root) % R;
  }
  const changed = withPoints(zkey, 'H', points);
  await check(pool, r1cs, { zkey: changed, powers });
  const blinding = { r: 5n, s: 6n };
  assert.equal(
    (await prove(changed, witness, pool, blinding)).proof,
    (await prove(zkey, witness, pool, blinding)).proof,
  );
});

test('without circuit and powers it is seen that points are points and that both groups agree', async (t) => {
  const { pool, made } = await start(t, { constraints: 60 });
  const { zkey } = made;
  const points = async (damaged: Zkey) =>
    checkPoints(damaged, { key: await pool.ready(damaged), curve: pool });
  await refused(() => points(withPoints(zkey, 'B1', { 7: multiple('G1') })), 'key-rejected', /B1 and B2/);
  await refused(() => points(withPoints(zkey, 'B2', { 7: strayPoint() })), 'key-rejected', /subgroup/);
  await refused(() => points(withHeader(zkey, { beta1: multiple('G1') })), 'key-rejected', /beta/);
  // Both moved, by the same multiple, is a pair that agrees: this takes the powers.
  await points(withPoints(withPoints(zkey, 'B1', { 7: multiple('G1') }), 'B2', { 7: multiple('G2') }));
  let factor = 2n;
  while (G2.CURVE().h % factor !== 0n) factor += 1n;
  assert.is(factor, 10_069n, 'the least factor of the cofactor is as stated');
});

test('it can be cancelled', async (t) => {
  const { pool, r1cs, made } = await start(t, { constraints: 60 });
  await refused(() => check(pool, r1cs, made, AbortSignal.abort()), 'cancelled', /cancelled/);
});

test.run();

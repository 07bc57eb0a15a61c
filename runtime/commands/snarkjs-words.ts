/** snarkjs's short names of the commands that have a twin here, and the commands that only snarkjs has. */
import { VouchError } from '../../protocols/errors.ts';

const TWINS: Readonly<Record<string, readonly string[]>> = {
  g16p: ['groth16', 'prove'],
  zpw: ['groth16', 'prove'],
  g16f: ['groth16', 'fullprove'],
  g16i: ['groth16', 'fullprove'],
  g16v: ['groth16', 'verify'],
  zkv: ['zkey', 'verify'],
  zkvr: ['zkey', 'verify'],
  zkev: ['zkey', 'export', 'verificationkey'],
  zkesv: ['zkey', 'export', 'solidityverifier'],
  zkesc: ['zkey', 'export', 'soliditycalldata'],
  wc: ['wtns', 'calculate'],
  wchk: ['wtns', 'check'],
  ri: ['r1cs', 'info'],
};

/** Beginnings of snarkjs's commands, in words or short, without a twin. */
const ONLY_THERE: readonly (readonly string[])[] = [
  ...[
    'plonk',
    'fflonk',
    'powersoftau',
    'file',
    'groth16 setup',
    'zkey new',
    'zkey contribute',
    'zkey beacon',
  ],
  ...[
    'zkey verify init',
    'zkey bellman',
    'zkey import',
    'zkey export json',
    'zkey export bellman',
    'wtns debug',
  ],
  ...['wtns export', 'r1cs print', 'r1cs export'],
  ...[
    'ptn',
    'ptc',
    'ptec',
    'ptcc',
    'ptir',
    'ptb',
    'pt2',
    'ptcv',
    'ptt',
    'ptv',
    'ptej',
    'rp',
    'rej',
    'wd',
    'wej',
  ],
  ...['zkc', 'zkeb', 'zkbc', 'zkib', 'zkb', 'zkvi', 'zkej', 'zkn', 'g16s', 'fi'],
  ...['pks', 'pkp', 'pkf', 'pkv', 'ffs', 'ffp', 'fff', 'ffv'],
].map((words) => words.split(' '));

/** The words with a short name spelled out; `bad-input` with snarkjs's own command for what has no twin. */
export function spelledOut(words: readonly string[]): readonly string[] {
  const only = ONLY_THERE.find((start) => start.every((word, index) => words[index] === word));
  if (only) {
    throw new VouchError(
      'bad-input',
      `${only.join(' ')}: this is a command of snarkjs alone; use npx snarkjs ${words.join(' ').slice(0, 200)}`,
    );
  }
  const [first = '', ...rest] = words;
  return Object.hasOwn(TWINS, first) ? [...TWINS[first]!, ...rest] : words;
}

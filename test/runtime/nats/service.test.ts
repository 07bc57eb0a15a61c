/** What reaches the log of the errors that a role meets: each once, floods bounded, failures always. */
import { VouchError } from '../../../protocols/errors.ts';
import { toWireError } from '../../../protocols/wire-error.ts';
import { reportError, wireError } from '../../../runtime/nats/service.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('reported errors');

function open() {
  const lines: string[] = [];
  return { lines, log: (line: string) => void lines.push(line) };
}

test('an error is written once, under the id that travels', () => {
  const { lines, log } = open();
  const error = new VouchError('bad-message', 'row 1: expected 21 columns');
  const { errorId } = wireError(error, 'runner.r1', log);
  assert.is(reportError(error, 'runner.r1: infer failed: error', log), errorId);
  assert.equal(lines, [
    `runner.r1: a request was refused: error ${errorId}: bad-message: row 1: expected 21 columns`,
  ]);
});

test('a peer that floods a role with nonsense neither fills its log nor hides a failure of its own', () => {
  const { lines, log } = open();
  const lost = new VouchError('device-lost', 'the GPU was lost');
  for (let i = 0; i < 500; i++) wireError(new VouchError('bad-message', `nonsense ${i}`), 'runner.r1', log);
  assert.is(lines.length, 20);
  // Answered within the flood, then reported as the reason why the actor stops.
  const { errorId } = wireError(lost, 'runner.r1', log);
  assert.is(lines.length, 20);
  assert.is(reportError(lost, 'runner.r1: the session: error', log), errorId);
  assert.is(lines.at(-1), `runner.r1: the session: error ${errorId}: device-lost: the GPU was lost`);
});

test('what a peer sent does not steer the terminal that shows the log', () => {
  const { lines, log } = open();
  reportError(new VouchError('bad-input', 'got \u001b[2J\u202ea\nb'), 'x: error', log);
  assert.match(lines[0]!, /bad-input: got \[2J a b$/);
});

test('a defect keeps its stack in the log and its text off the wire', () => {
  const { lines, log } = open();
  const defect = new TypeError('secret');
  const id = reportError(defect, 'x: error', log);
  assert.match(lines[0]!, /TypeError: secret\n +at /);
  assert.not.match(JSON.stringify(toWireError(defect, id)), 'secret');
});

test.run();

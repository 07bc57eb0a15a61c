/** How a long job shows itself where there is no terminal. */
import { PassThrough } from 'node:stream';
import { createProgress } from '../../../runtime/client/progress.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('progress');

test('few lines, each readable by itself', () => {
  const stream = new PassThrough();
  const progress = createProgress(stream as unknown as NodeJS.WriteStream);
  progress.set('compiling', 0, 1);
  progress.set('compiling', 1, 1, 'cached');
  for (let done = 0; done <= 1000; done++) progress.set('points', done, 1000, 'points');
  progress.set('points', 1000, 1000, 'points');
  progress.line('a word in between');
  progress.stop();
  progress.stop();
  assert.equal(stream.read().toString().trimEnd().split('\n'), [
    '    compiling       cached',
    '    points             0/1000 points',
    '    points          1000/1000 points',
    'a word in between',
  ]);
});

test.run();

/** Idioms of code that walks over memory: a counted loop, and pointers that advance. */
import { type Body, type I32, i32, type Local } from './assembler.ts';

/** for (local = 0; local < count; local++) */
export function times(body: Body, count: I32, inner: (index: Local<'i32'>) => void): void {
  const index = body.local('i32', i32.const(0));
  body.while(i32.ltU(index, count), () => {
    inner(index);
    body.set(index, i32.add(index, i32.const(1)));
  });
}
export const plus = (address: I32, bytes: number): I32 => i32.add(address, i32.const(bytes));
export const advance = (body: Body, pointer: Local<'i32'>, bytes: number) =>
  body.set(pointer, plus(pointer, bytes));

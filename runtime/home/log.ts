/** Where a part of the program says what it does: one line for the person who runs it. Never a secret. */
export type Log = (line: string) => void;

/** What a command would tell a person, line by line. */
export function recordedVoices() {
  const said: string[] = [];
  const voices = {
    say: (line: string) => void said.push(line),
    print: (line: unknown) => void said.push(String(line)),
    signal: new AbortController().signal,
  };
  return { said, voices };
}

/** Server-sent events as OpenAI's API sends them: the `data` of each event, until `[DONE]` (WHATWG HTML, section 9.2). */
import { VouchError } from '../../protocols/errors.ts';

/** One event holds a few tokens, or the calls of tools of an answer. */
const MAX_LINE = 4 * 1024 * 1024;

/** Returns whether `[DONE]` came; without it the stream was cut. Throws `too-large` for a line that does not end. */
export async function* eventsOf(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<string, boolean> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of bytes) {
    rest += decoder.decode(chunk, { stream: true });
    const lines = rest.split(/\r?\n/);
    rest = lines.pop()!;
    if (rest.length > MAX_LINE)
      throw new VouchError('too-large', `event stream: a line of more than ${MAX_LINE} characters`);
    for (const line of lines) {
      if (!line.startsWith('data:')) continue;
      const data = line.slice('data:'.length).trim();
      if (data === '[DONE]') return true;
      yield data;
    }
  }
  return false;
}

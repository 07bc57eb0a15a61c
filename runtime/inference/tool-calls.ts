/**
 * Calls of tools in the text of a model, in the form that most open models are taught (Hermes, Qwen): a JSON object with a
 * name and arguments between `<tool_call>` and `</tool_call>`. Other forms are not read: their text stays text.
 */
import { VouchError } from '../../protocols/errors.ts';

/** Bytes of the calls of one answer as JSON: they travel with the receipt in its last frame, which is one message. */
export const MAX_TOOL_CALL_BYTES = 256 * 1024;

/** Throws `too-large`. `bytes`: of calls as JSON, or less, where they are still coming. */
export function demandToolCallsFit(bytes: number): void {
  if (bytes > MAX_TOOL_CALL_BYTES)
    throw new VouchError(
      'too-large',
      `answer: expected at most ${MAX_TOOL_CALL_BYTES} bytes of calls of tools; ask for fewer tokens`,
    );
}

export const TOOL_CALL = '<tool_call>';
const CALL = /<tool_call>\s*(\{[\s\S]*?\})\s*<\/tool_call>/g;

export interface ToolCall {
  readonly id: string;
  readonly type: 'function';
  readonly function: { readonly name: string; readonly arguments: string };
}

/** The calls in a text; undefined where it holds anything else than calls. */
export function toolCallsIn(text: string): ToolCall[] | undefined {
  const calls: ToolCall[] = [];
  for (const [, json] of text.matchAll(CALL)) {
    try {
      const { name, arguments: given = {} } = JSON.parse(json!);
      if (typeof name !== 'string') return undefined;
      const args = typeof given === 'string' ? given : JSON.stringify(given);
      calls.push({
        id: `call_${crypto.randomUUID()}`,
        type: 'function',
        function: { name, arguments: args },
      });
    } catch {
      return undefined;
    }
  }
  const rest = text.replaceAll(CALL, '').trim();
  return calls.length > 0 && rest === '' ? calls : undefined;
}

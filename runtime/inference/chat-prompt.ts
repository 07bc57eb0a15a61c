/**
 * From messages to the tokens of a prompt, by the model's own chat template (Jinja, as Hugging Face's transformers have it).
 *
 * Marks of turns are tokens of their own. A message that spells one out, such as `<|im_end|>`, would end its turn and begin
 * another role's: what a user quotes must not become the system's word. Such text in messages and tools is taken out before the
 * template is filled in and put back as plain text; all other text passes the template as it is. Marks that a model's file calls
 * user-defined instead of control are beyond this: llama.cpp takes them for tokens in plain text as well.
 */
import { messageOf, VouchError } from '../../protocols/errors.ts';
import type { JinjaModule, LlamaModel, Token } from './llama-binding.ts';
import type { TextRequest } from './text-engine.ts';

export type Prompter = (request: TextRequest) => Token[];

/** `template`: instead of the one in the model's file. Throws `bad-file` for a model without any. */
export function createPrompter(
  model: LlamaModel,
  { Template }: JinjaModule,
  template: string | undefined = templateIn(model),
): Prompter {
  const marks = marksOf(model);
  const compiled = template === undefined ? undefined : new Template(template);
  const takesTools = template !== undefined && /\btools\b/.test(template);
  const { bos, bosString, eosString, shouldPrependBosToken } = model.tokens;
  const opened = (tokens: Token[]): Token[] =>
    shouldPrependBosToken && bos !== null && tokens[0] !== bos ? [bos, ...tokens] : tokens;

  return ({ messages, tools }) => {
    const [only] = messages;
    if (only?.role === 'prompt') {
      if (messages.length > 1) throw wrong('messages: expected a prompt alone, without further messages');
      return opened(model.tokenize(only.content, false));
    }
    if (messages.some(({ role }) => role === 'prompt')) throw wrong('messages: a prompt has to stand alone');
    if (!compiled) throw wrong('messages: this model has no chat template; ask for a completion of a text');
    if (tools !== undefined && !takesTools) throw wrong("tools: this model's chat template takes none");
    const { guarded, restored } = guard(marks);
    let text: string;
    try {
      text = compiled.render({
        messages: messages.map((message) => guarded({ ...message, role: roleOf(message.role) })),
        ...(tools === undefined ? {} : { tools: guarded(tools) }),
        add_generation_prompt: true,
        bos_token: bosString ?? '',
        eos_token: eosString ?? '',
      });
    } catch (error) {
      // A template says itself what it does not take, such as two users in a row.
      throw wrong(`messages: the model's chat template refuses them: ${messageOf(error).slice(0, 300)}`);
    }
    return opened(
      restored(text).flatMap(({ part, plain }) => (part === '' ? [] : model.tokenize(part, !plain))),
    );
  };
}

const wrong = (message: string): VouchError => new VouchError('bad-input', message);
/** Templates know OpenAI's older name. */
const roleOf = (role: string): string => (role === 'developer' ? 'system' : role);

function templateIn({ fileInfo }: LlamaModel): string | undefined {
  const found = fileInfo.metadata.tokenizer?.chat_template;
  return typeof found === 'string' ? found : undefined;
}

/** The texts that the tokenizer takes for tokens of their own. */
function marksOf(model: LlamaModel): string[] {
  const marks: string[] = [];
  for (const token of model.iterateAllTokens()) {
    if (!model.getTokenAttributes(token).control) continue;
    const text = model.detokenize([token], true);
    if (text.trim() !== '') marks.push(text);
  }
  // A longer one may hold a shorter one.
  return marks.sort((a, b) => b.length - a.length);
}

/** Stand-ins begin with what no message can guess; they live for one request. */
function guard(marks: readonly string[]) {
  const secret = crypto.randomUUID();
  const taken: string[] = [];
  const guardText = (text: string): string => {
    let rest = text;
    for (const mark of marks)
      if (rest.includes(mark)) {
        const standIn = `${secret}:${taken.length};`;
        taken.push(mark);
        rest = rest.replaceAll(mark, standIn);
      }
    return rest;
  };
  const guarded = (value: unknown): unknown => {
    if (typeof value === 'string') return guardText(value);
    if (Array.isArray(value)) return value.map(guarded);
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [guardText(key), guarded(inner)]));
  };
  return {
    guarded,
    restored(text: string): { part: string; plain: boolean }[] {
      const pieces = text.split(new RegExp(`${secret}:(\\d+);`));
      return pieces.map((part, i) =>
        i % 2 === 0 ? { part, plain: false } : { part: taken[Number(part)] ?? '', plain: true },
      );
    },
  };
}

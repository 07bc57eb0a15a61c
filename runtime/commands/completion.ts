/**
 * `vouch completion SHELL`: a script by which a shell completes the names of commands, of what is below them, and options. It is
 * made from the declarations, and asks nobody when a key is pressed.
 */
import { Argument, type Command, type CommandUnknownOpts } from '@commander-js/extra-typings';
import { print } from './terminal.ts';

const SHELLS = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof SHELLS)[number];

export const define = (command: Command) =>
  command
    .addArgument(
      new Argument('<shell>', 'eval "$(vouch completion bash)" in its start-up file').choices(SHELLS),
    )
    // Its parent has all commands with all that they take: cli.ts declares every one for this.
    .action((shell) => print(script(shell, wordsOf(command.parent!))));

/** What may follow `vouch` and each command, by the words before. */
export function wordsOf(program: CommandUnknownOpts): Map<string, string[]> {
  const words = new Map<string, string[]>();
  const visit = (command: CommandUnknownOpts, before: readonly string[]) => {
    const options = command.options.flatMap(({ long }) => long ?? []);
    words.set(before.join(' '), [...command.commands.map((sub) => sub.name()), ...options, '--help'].sort());
    for (const sub of command.commands) visit(sub, [...before, sub.name()]);
  };
  visit(program, []);
  return words;
}

/** Names are ours: letters, digits and hyphens. */
export function script(shell: Shell, words: ReadonlyMap<string, readonly string[]>): string {
  if (shell === 'fish')
    return [...words]
      .map(([before, next]) => {
        const last = before.split(' ').at(-1);
        const condition = before === '' ? '__fish_use_subcommand' : `__fish_seen_subcommand_from ${last}`;
        return `complete -c vouch -n '${condition}' -a '${next.join(' ')}'`;
      })
      .join('\n');
  const cases = [...words].map(([before, next]) => `    '${before}') words='${next.join(' ')}' ;;`);
  const first = cases.filter((line) => /^ +'[a-z0-9]+'/.test(line));
  // The longest words before the cursor that are a command's count; else those of the first word.
  const body = `_vouch() {
  local words='' before='' i
  for ((i = 1; i < COMP_CWORD && i < 3; i++)); do
    case "\${COMP_WORDS[i]}" in -*) break ;; esac
    before="\${before:+$before }\${COMP_WORDS[i]}"
  done
  case "$before" in
${cases.join('\n')}
    *) case "\${before%% *}" in
${first.join('\n')}
    esac ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}") $(compgen -f -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o filenames -F _vouch vouch`;
  return shell === 'zsh' ? `autoload -U +X bashcompinit && bashcompinit\n${body}` : body;
}

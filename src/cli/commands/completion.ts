import { Argument, type Command } from 'commander';
import { Failure } from '../../core/errors.ts';
import type { Bind } from '../session.ts';

const SHELLS = ['bash', 'zsh', 'fish'] as const;

export function define(command: Command, bind: Bind): void {
  command.addArgument(new Argument('<shell>').choices(SHELLS));
  command.addHelpText('after', '\nExample: lifeboat completion bash > /etc/bash_completion.d/lifeboat');
  bind(command, async (session, _options, [shell = '']) => {
    const root = command.parent;
    if (!root) throw new Failure('usage', 'completion is a command of lifeboat');
    const words = root.commands.map((each) => ({ name: each.name(), summary: each.description() }));
    const script = scriptFor(shell, words);
    session.print({ shell, script }, script.trimEnd());
    return 0;
  });
}

interface Word {
  readonly name: string;
  readonly summary: string;
}
const OPTIONS = ['--config', '--json', '--log-level', '--progress', '--help'];

function scriptFor(shell: string, words: readonly Word[]): string {
  const names = words.map(({ name }) => name).join(' ');
  if (shell === 'fish') {
    const lines = words.map(
      ({ name, summary }) =>
        `complete -c lifeboat -n __fish_use_subcommand -a ${name} -d '${summary.replaceAll("'", '')}'`,
    );
    return `complete -c lifeboat -f\n${lines.join('\n')}\n`;
  }
  const bash = `_lifeboat() {
  local word="\${COMP_WORDS[COMP_CWORD]}" seen="" each
  for each in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do [[ $each != -* ]] && seen=1; done
  if [[ $word == -* ]]; then COMPREPLY=($(compgen -W "${OPTIONS.join(' ')}" -- "$word"))
  elif [[ -z $seen ]]; then COMPREPLY=($(compgen -W "${names}" -- "$word"))
  else COMPREPLY=($(compgen -f -- "$word")); fi
}
complete -F _lifeboat lifeboat
`;
  return shell === 'zsh' ? `autoload -U +X bashcompinit && bashcompinit\n${bash}` : bash;
}

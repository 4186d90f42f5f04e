import { Argument, type Command } from 'commander';
import { candidates } from '../candidates.ts';
import type { Bind } from '../session.ts';

/**
 * Each asks `lifeboat completion words` what could stand at the cursor, and offers files where that is nothing. What it
 * answers is never expanded: not by `compgen -W` either, which would run a `$(…)` that stands at the cursor.
 */
const SCRIPTS: Readonly<Record<string, string>> = {
  bash: `_lifeboat() {
  local word
  COMPREPLY=()
  while IFS= read -r word; do
    [[ $word == "\${COMP_WORDS[COMP_CWORD]}"* ]] && COMPREPLY+=("$word")
  done < <(lifeboat completion words -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _lifeboat lifeboat`,
  zsh: `#compdef lifeboat
_lifeboat() {
  local -a found
  found=(\${(f)"$(lifeboat completion words -- "\${(@)words[2,CURRENT]}" 2>/dev/null)"})
  (( \${#found} )) && compadd -a found || _files
}
compdef _lifeboat lifeboat`,
  fish: `complete -c lifeboat -a '(lifeboat completion words -- (commandline -opc)[2..] "$(commandline -ct)" 2>/dev/null)'`,
};

export function define(command: Command, bind: Bind): void {
  command.addArgument(new Argument('<shell>').choices(Object.keys(SCRIPTS)));
  command.addHelpText(
    'after',
    `
Points are offered from stores in directories, by a configuration that belongs to you or root and that only its owner
may write to: TAB reads no secret for anybody else's, and asks no other host and no other program.

Example: lifeboat completion bash > /etc/bash_completion.d/lifeboat`,
  );
  bind(command, async (session, _options, [shell = '']) => {
    const script = SCRIPTS[shell] ?? '';
    session.print({ shell, script }, script);
    return 0;
  });
  const words = command.command('words', { hidden: true }).argument('[typed...]');
  bind(words, async (session, _options, typed) => {
    const root = command.parent;
    if (!root) throw new Error('completion is a command of lifeboat');
    const found = await candidates(session, root, typed);
    session.print({ words: found }, found.join('\n'));
    return 0;
  });
}

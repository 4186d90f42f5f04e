// Options that take several values. They never take the words that follow, which may be the command's own.

import { InvalidArgumentError, Option } from 'commander';

/** '--only a,b' as well as '--only a --only b'. */
export function namesOption(flags: string, description: string): Option {
  const parse = (text: string, before: readonly string[] = []): readonly string[] => {
    const names = text.split(',').map((name) => name.trim());
    if (names.includes('')) throw new InvalidArgumentError('a name between the commas is missing.');
    return [...before, ...names];
  };
  return new Option(flags, `${description}: a,b or repeated`).argParser(parse);
}

/** For values that may hold commas themselves: the option is repeated. */
export function repeatedOption(flags: string, description: string): Option {
  const parse = (text: string, before: readonly string[] = []): readonly string[] => [...before, text];
  return new Option(flags, `${description}; may be repeated`).argParser(parse);
}

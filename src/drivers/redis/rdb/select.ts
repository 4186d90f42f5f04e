// Which keys are meant: databases, and patterns as Redis has them (*, ?, [abc], [^a-z], \x), over bytes.

/** What is chosen of an RDB; null stands for all. */
export interface KeySelection {
  readonly databases: readonly number[] | null;
  readonly patterns: readonly string[] | null;
}

/** `name` is looked at byte by byte: keys need not be text. */
export function selector({ databases, patterns }: KeySelection): (database: number, name: Buffer) => boolean {
  const wanted = patterns?.map(patternOf);
  return (database, name) => {
    if (databases && !databases.includes(database)) return false;
    if (!wanted) return true;
    const text = name.toString('latin1');
    return wanted.some((pattern) => pattern.test(text));
  };
}

function patternOf(glob: string): RegExp {
  const text = Buffer.from(glob).toString('latin1');
  let source = '';
  for (let at = 0; at < text.length; at++) {
    const sign = text.charAt(at);
    if (sign === '*') source += '.*';
    else if (sign === '?') source += '.';
    else if (sign === '\\' && at + 1 < text.length) source += escaped(text.charAt(++at));
    else if (sign === '[' && text.indexOf(']', at + 1) > 0) {
      const end = text.indexOf(']', at + 1);
      source += classOf(text.slice(at + 1, end));
      at = end;
    } else source += escaped(sign);
  }
  return new RegExp(`^${source}$`, 's');
}

function classOf(members: string): string {
  const negated = members.startsWith('^');
  const listed = (negated ? members.slice(1) : members).replace(/[\\\]^[]/g, '\\$&');
  if (listed === '') return negated ? '.' : '(?!)';
  return `[${negated ? '^' : ''}${listed}]`;
}

function escaped(sign: string): string {
  return sign.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
}

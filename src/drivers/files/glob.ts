import { isDirectoryName } from './names.ts';

/**
 * Tells whether a name is left out. '*' and '?' stay within a segment, '**' crosses them. A pattern without '/' fits
 * the last segment at any depth; one with '/' fits the whole name. What fits a directory fits all beneath it.
 */
export function excluder(patterns: readonly string[]): (name: string) => boolean {
  if (patterns.length === 0) return () => false;
  const all = patterns.map((pattern) => `(?:${expression(pattern)})`).join('|');
  const fits = new RegExp(`^(?:${all})$`, 's');
  return (name) => fits.test(isDirectoryName(name) ? name.slice(0, -1) : name);
}

/** Names that one of the patterns means: itself, all beneath it, or what fits it as a glob. */
export function selector(patterns: readonly string[]): (name: string) => boolean {
  const beneath = patterns.map((pattern) => (pattern.endsWith('/') ? pattern : `${pattern}/`));
  const fits = excluder(patterns);
  return (name) => fits(name) || beneath.some((path) => name.startsWith(path));
}

function expression(pattern: string): string {
  const text = pattern.replace(/(?<=.)\/$/, '');
  const body = text.replace(/\/\*\*(?=\/|$)|\*\*\/|\*\*|\*|\?|\[!?[^\]/]+\]|[\\^$.|+(){}[\]]/g, (token) => {
    if (token === '/**') return '(?:/.*)?';
    if (token === '**/') return '(?:.*/)?';
    if (token === '**') return '.*';
    if (token === '*') return '[^/]*';
    if (token === '?') return '[^/]';
    if (token.length > 2 && token.startsWith('[')) return token.replace(/^\[!/, '[^').replaceAll('\\', '\\\\');
    return `\\${token}`;
  });
  return text.includes('/') ? (text.startsWith('/') ? body : `(?:/.*)?/${body}`) : `(?:/.*)?/${body}`;
}

// Words as a shell takes them, in commands that people are told to run.

/** Plain words stay as they are. */
export function quoted(word: string): string {
  return /^[\w./:=@,+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

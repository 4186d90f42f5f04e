import { readFileSync } from 'node:fs';

/** The blocks of the page on recovering without Lifeboat that are marked with `language`. */
export function blocks(language: string): readonly string[] {
  const page = readFileSync('docs/recover-without-lifeboat.md', 'utf8');
  const fenced = new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``, 'g');
  return [...page.matchAll(fenced)].map(([, text = '']) => text);
}

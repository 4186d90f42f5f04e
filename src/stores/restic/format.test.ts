import assert from 'node:assert/strict';
import { glob, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';

test('each rule of docs/format.md names a test that exists', async () => {
  const root = join(import.meta.dirname, '../../..');
  const page = await readFile(join(root, 'docs/format.md'), 'utf8');
  const named = [...page.matchAll(/\*\((.+?)\)\*/g)].flatMap(([, names]) => names?.split('; ') ?? []);
  const sources: string[] = [];
  for await (const file of glob('src/stores/**/*.{test,suite}.ts', { cwd: root })) {
    sources.push(await readFile(join(root, file), 'utf8'));
  }
  const titles = sources.flatMap((text) =>
    [...text.matchAll(/(?:test|it)\(\s*(['"`])(.+?)\1,/gs)].map(([, , title]) => title),
  );
  assert.ok(named.length > 15);
  for (const name of named)
    assert.ok(
      titles.some((title) => title?.startsWith(name)),
      name,
    );
});

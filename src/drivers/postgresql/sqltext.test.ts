import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Bytes } from '../../core/model.ts';
import { sqlItems } from './sqltext.ts';

/** The text in pieces of `size` bytes: what is recognised may not depend on where the store cuts. */
async function* inPieces(text: string | Buffer, size: number): Bytes {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function cut(text: string | Buffer, size = 7): Promise<string[]> {
  const found: string[] = [];
  for await (const item of sqlItems(inPieces(text, size))) {
    const data = item.data && Buffer.concat(await Array.fromAsync(item.data, (chunk) => Buffer.from(chunk)));
    found.push(data ? `${item.text} <<${data}>>` : item.text);
  }
  return found;
}

describe('SQL text is cut as psql would', () => {
  const TEXTS: readonly [string, string, string[]][] = [
    ['statements', 'select 1;\n select 2 ;', ['select 1', 'select 2']],
    ['comments', '-- a; b\nselect /* ; /* nested; */ */ 1; -- end', ['select   1']],
    ['operators that look like comments', 'select 1 - -1, 2*/**/3, 4 /5;', ['select 1 - -1, 2* 3, 4 /5']],
    ['quotes', `select 'a;''b', "c;""d", 'back\\';`, [`select 'a;''b', "c;""d", 'back\\'`]],
    ['escapes', `select E'a\\';', e'\\\\', U&'\\0041;';`, [`select E'a\\';', e'\\\\', U&'\\0041;'`]],
    ['escapes that go on in the next line', `select E'a'\n '\\';';select 2;`, [`select E'a'\n '\\';'`, 'select 2']],
    ['and behind a comment', `select E'a' -- b\n\r'\\';';`, [`select E'a' \n\r'\\';'`]],
    ['a plain text that goes on', `select 'a'\n'\\';select 2;`, [`select 'a'\n'\\'`, 'select 2']],
    [
      'a text that does not go on',
      `select E'a' - \n'\\';select E'a' '\\';`,
      [`select E'a' - \n'\\'`, `select E'a' '\\'`],
    ],
    ['a word that ends in e', "select date'2024-01-01\\';select 2;", ["select date'2024-01-01\\'", 'select 2']],
    ['dollar quotes', 'do $a$ b; $b$; $a $a$; select $1, x$y$z;', ['do $a$ b; $b$; $a $a$', 'select $1, x$y$z']],
    ['a backslash within quotes', `select $$\\! x$$, '\\! x', "\\! x";`, [`select $$\\! x$$, '\\! x', "\\! x"`]],
    [
      'function bodies of the standard',
      'create function f() returns int begin atomic select case when true then 1 end; select 2; end; select 3;',
      ['create function f() returns int begin atomic select case when true then 1 end; select 2; end', 'select 3'],
    ],
    [
      'rules of several statements',
      'create rule r as on insert to t do (select 1; select 2);',
      ['create rule r as on insert to t do (select 1; select 2)'],
    ],
    [
      'rows',
      'COPY t (a) FROM stdin;\n1;\n\\.x\n\\\\.\n\\N\n\\.\nselect 1;',
      ['COPY t (a) FROM stdin <<1;\n\\.x\n\\\\.\n\\N\n>>', 'select 1'],
    ],
    [
      'rows with the ends of lines of Windows',
      'copy t from stdin;\r\n1\r\n\\.\r\nselect 1;',
      ['copy t from stdin <<1\r\n>>', 'select 1'],
    ],
    ['no rows', 'COPY t FROM stdin;\n\\.\n', ['COPY t FROM stdin <<>>']],
    ['restricted text', '\\restrict aB3\nselect 1;\n\\unrestrict aB3\n', ['select 1']],
    ['nothing', ' \n-- nothing', []],
    ['an empty statement', ';;select 1;', ['select 1']],
  ];
  for (const [what, text, expected] of TEXTS) {
    it(what, async () => {
      for (const size of [1, 2, 3, 7, 4096]) assert.deepEqual(await cut(text, size), expected, `pieces of ${size}`);
    });
  }
});

describe('SQL text that would make psql do more than SQL is refused', () => {
  const HOSTILE: readonly [string, string][] = [
    ['a command', '\\! touch /tmp/x\n'],
    ['a command after a statement', 'select 1; \\! touch /tmp/x\n'],
    ['a command within a statement', 'select 1 \\! touch /tmp/x\n;'],
    ['a command instead of the semicolon', "select 'x' \\gexec\n"],
    ['another database', '\\connect postgres\n'],
    ['another file', '\\i /etc/passwd\n'],
    ['the end of rows where there are none', '\\.\n'],
    ['a command behind the end of rows', 'copy t from stdin;\n\\.\n\\! x\n'],
    ['a second key', '\\restrict a\n\\restrict b\n\\unrestrict b\n\\unrestrict a\n'],
    ['another key', '\\restrict a\nselect 1;\n\\unrestrict b\n'],
    ['a key that never comes', '\\restrict a\nselect 1;\n'],
    ['a key without a lock', '\\unrestrict a\n'],
    ['a command behind a key', '\\restrict a \\! x\n'],
    ['a command in the last line, which has no end', '\\! x'],
    ['rows without an end', 'copy t from stdin;\n1\n'],
    ['a statement without an end', 'select 1; select 2'],
    ['a text without an end', "select 'x;"],
  ];
  for (const [what, text] of HOSTILE) {
    it(what, async () => {
      for (const size of [1, 5, 4096])
        await assert.rejects(cut(text, size), { code: 'malformed' }, `pieces of ${size}`);
    });
  }

  it('bytes that are not UTF-8', async () => {
    await assert.rejects(cut(Buffer.from("select '\xe4';", 'latin1')), { code: 'malformed' });
  });

  it('and names its line', async () => {
    await assert.rejects(cut('select 1;\ncopy t from stdin;\n1\n2\n\\.\n\n\\! x\n'), /line 7: .*\\!/);
  });
});

it('what is cut does not depend on where the text is split', async () => {
  const words = fc.constantFrom(
    "'",
    '"',
    '$$',
    '$a$',
    ';',
    '\\',
    '\n',
    '--',
    '/*',
    '*/',
    'E',
    "E'",
    'x',
    '(',
    ')',
    '\\.',
    'copy t from stdin',
  );
  const text = fc.array(words, { maxLength: 30 }).map((each) => each.join(''));
  await fc.assert(
    fc.asyncProperty(text, fc.integer({ min: 1, max: 9 }), async (sql, size) => {
      const outcome = (pieces: number) =>
        cut(sql, pieces).catch((error: { code?: string; message: string }) => error.message);
      assert.deepEqual(await outcome(size), await outcome(100_000));
    }),
    { numRuns: 500 },
  );
});

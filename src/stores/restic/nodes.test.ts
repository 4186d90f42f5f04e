import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFailure } from '../../core/errors.ts';
import { dirJson, fileJson, goQuote, goUnquote, parseTree, treeBlob } from './nodes.ts';

const id = Buffer.alloc(32, 7);
const parsed = (json: unknown): ReturnType<typeof parseTree> => parseTree(Buffer.from(JSON.stringify(json)), 'a tree');

test('names are quoted as Go quotes them', () => {
  const quoted: Record<string, string> = {
    plain: 'plain',
    'a "b" \\': 'a \\"b\\" \\\\',
    'line\nbreak\ttab\u0007': 'line\\nbreak\\ttab\\a',
    '\u0001\u007f': '\\x01\\x7f',
    'ümlaut 日本語 🚀': 'ümlaut 日本語 🚀',
    'no\u00a0break': 'no\\u00a0break',
    'left\u200eto right': 'left\\u200eto right',
    '\u{e0001}': '\\U000e0001',
  };
  for (const [name, text] of Object.entries(quoted)) {
    assert.equal(goQuote(Buffer.from(name)), text);
    assert.deepEqual(goUnquote(text), Buffer.from(name));
  }
});

test('a name that is no text comes back as the bytes it was', () => {
  const name = Buffer.from([0x61, 0xff, 0xc3, 0xbc, 0xc3, 0x0a]);
  assert.equal(goQuote(name), 'a\\xffü\\xc3\\n');
  assert.deepEqual(goUnquote(goQuote(name)), name);
});

test('what nobody has quoted is refused', () => {
  for (const text of ['a"b', 'a\\', 'a\\q', '\\xg0', '\\U00110000', '\\u12']) assert.equal(goUnquote(text), undefined);
});

test('an entry comes back as it was written', () => {
  const attributes = { mode: 0o640, uid: 10, gid: 20, mtime: '2025-12-31T23:59:59.120Z' };
  const content = Buffer.concat([id, Buffer.alloc(32, 8)]);
  const blob = treeBlob([
    fileJson(Buffer.from('<a&b>'), 77, content, attributes),
    dirJson(Buffer.from('dir'), id),
    fileJson(Buffer.from('none'), 0, Buffer.alloc(0)),
  ]);
  assert.ok(blob.toString().includes('\\u003ca\\u0026b\\u003e') && blob.toString().endsWith(']}\n'));
  assert.ok(blob.toString().includes('"2025-12-31T23:59:59.12Z"'), 'times are written as Go writes them');
  const [file, dir, none] = parseTree(blob, 'a tree');
  assert.deepEqual(file, {
    name: Buffer.from('<a&b>'),
    type: 'file',
    bytes: 77,
    attributes,
    content,
    subtree: undefined,
  });
  assert.deepEqual([dir?.type, dir?.subtree], ['dir', id]);
  assert.deepEqual([none?.bytes, none?.content.length, none?.attributes], [0, 0, undefined]);
});

test('hostile trees are refused (fault 21)', () => {
  const file = { type: 'file', content: [] };
  const hex = id.toString('hex');
  const hostile: unknown[] = [
    null,
    [],
    { nodes: {} },
    { nodes: [{ ...file, name: '' }] },
    { nodes: [{ ...file, name: '.' }] },
    { nodes: [{ ...file, name: '..' }] },
    { nodes: [{ ...file, name: 'a/b' }] },
    { nodes: [{ ...file, name: '/etc' }] },
    { nodes: [{ ...file, name: '\\x2e\\x2e' }] },
    { nodes: [{ ...file, name: 'a\\x00' }] },
    { nodes: [{ ...file, name: 'a"' }] },
    { nodes: [{ ...file, name: 7 }] },
    { nodes: [{ ...file, name: 'a', size: -1 }] },
    { nodes: [{ ...file, name: 'a', content: ['..'] }] },
    { nodes: [{ ...file, name: 'a', content: 'x' }] },
    { nodes: [{ type: 'file', name: 'a', size: 5 }] },
    { nodes: [{ type: 'dir', name: 'a' }] },
    { nodes: [{ type: 'dir', name: 'a', subtree: '../config' }] },
    {
      nodes: [
        { ...file, name: 'a' },
        { type: 'dir', name: 'a', subtree: hex },
      ],
    },
  ];
  for (const tree of hostile) {
    assert.throws(
      () => parsed(tree),
      (error) => isFailure(error, 'malformed'),
      JSON.stringify(tree),
    );
  }
  assert.throws(
    () => parseTree(Buffer.from('{'), 'a tree'),
    (error) => isFailure(error, 'malformed'),
  );
  assert.deepEqual(parsed({ nodes: null }), []);
});

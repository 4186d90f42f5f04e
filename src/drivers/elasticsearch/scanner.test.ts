import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { reusedMemory } from '../../core/bytes.ts';
import { type DocumentSum, documentSum, type Operation, type Rendered, renderPage } from './documents.ts';
import { AT, scanPage } from './scanner.ts';

const around = { took: 1, timed_out: false, _shards: { total: 1, successful: 1, skipped: 0, failed: 0 } };

function pageOf(hits: readonly unknown[], more: object = {}): Buffer {
  return Buffer.from(JSON.stringify({ pit_id: 'p', ...around, hits: { max_score: null, hits }, ...more }));
}

function rendered(page: Buffer, operation: Operation = 'index', sum: DocumentSum = documentSum()): Rendered {
  return renderPage(page, scanPage(page), { operation, sum, memory: reusedMemory(0) });
}

function linesOf(page: Buffer): string[] {
  return rendered(page).body.toString('utf8').split('\n').slice(0, -1);
}

test('each document is found with its id, routing, version and its own bytes, whatever is in it', () => {
  const document = fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue());
  const hit = fc.record({
    _index: fc.string(),
    _id: fc.string({ unit: 'binary', minLength: 1 }),
    _version: fc.nat(),
    _score: fc.constant(null),
    _source: document,
    _routing: fc.string({ unit: 'binary', minLength: 1 }),
    fields: fc.jsonValue(),
    sort: fc.tuple(fc.nat()),
  });
  fc.assert(
    fc.property(fc.array(hit, { maxLength: 5 }), (hits) => {
      const page = pageOf(hits);
      const lines = linesOf(page);
      assert.equal(lines.length, hits.length * 2);
      for (const [at, { _id, _routing, _version, _source }] of hits.entries()) {
        const head: unknown = JSON.parse(lines[at * 2] ?? '');
        const index = { version: _version, version_type: 'external_gte', _id, routing: _routing };
        assert.deepEqual(head, JSON.parse(JSON.stringify({ index })));
        assert.equal(lines[at * 2 + 1], JSON.stringify(_source));
      }
      assert.equal(scanPage(page).lastSort, hits.length > 0 ? JSON.stringify(hits.at(-1)?.sort) : null);
    }),
  );
});

test('what looks like the end of a document within a text is none', () => {
  const sources = [{ a: '"}]}' }, { '"}': '{"_id":"x"}' }, { a: '\\' }, { a: '\\"' }, { a: [['}'], '],'] }, {}];
  const page = pageOf(sources.map((_source, n) => ({ _id: `${n}`, _version: 1, _source, sort: [n] })));
  assert.deepEqual(
    linesOf(page).filter((_, at) => at % 2 === 1),
    sources.map((source) => JSON.stringify(source)),
  );
});

test('a text of any length ends at the first quote that is not part of it', () => {
  for (let length = 0; length < 80; length++) {
    const before = 'x'.repeat(length);
    const sources = ['"', '\\', '\\"', '\\\\', '"}]}', '\\\\"y'].map((end) => ({
      [before]: before + end,
      [before + end]: '}',
    }));
    const page = pageOf(sources.map((_source, n) => ({ _id: before + n, _version: 1, _source, sort: [n] })));
    assert.deepEqual(
      linesOf(page).filter((_, at) => at % 2 === 1),
      sources.map((source) => JSON.stringify(source)),
    );
    const open = Buffer.from(`{"a":"${before}\\"`);
    assert.throws(() => scanPage(open), { code: 'malformed' });
  }
});

test('a page of many hits has each of them', () => {
  const page = pageOf(
    Array.from({ length: 5000 }, (_, n) => ({ _id: `${n}`, _version: n, _source: { n }, sort: [n] })),
  );
  const lines = linesOf(page);
  assert.equal(lines.length, 10_000);
  assert.deepEqual([lines[0]?.slice(-11), lines.at(-1)], ['"_id":"0"}}', '{"n":4999}']);
});

test('line ends between the values of a document become blanks, and the two lines of a document stay two', () => {
  const text = JSON.stringify({ ...around, hits: { hits: [] } }).replace('[]', () => {
    return '[ {"_id":"a", "_version" : 9223372036854775807 ,"_source": {\n "a":\r\n [1.0, 1e400] }\n} ]';
  });
  assert.deepEqual(linesOf(Buffer.from(text)), [
    '{"index":{"version":9223372036854775807,"version_type":"external_gte","_id":"a"}}',
    '{  "a":   [1.0, 1e400] }',
  ]);
});

test('the same id is written in one way, however the server escaped it', () => {
  const id = (raw: string): string => {
    const hits = `[{"_id":${raw},"_version":1,"_source":{},"sort":[1]}]`;
    return linesOf(Buffer.from(JSON.stringify({ ...around, hits: { hits: [] } }).replace('[]', hits)))[0] ?? '';
  };
  assert.equal(id('"\\u00e9\\/"'), id('"é/"'));
});

test('a page that is none is malformed, wherever it is cut or spoilt', () => {
  const page = pageOf([{ _id: 'a', _version: 1, _source: { a: [{ b: 'x' }] }, sort: [1] }]);
  for (let end = 0; end < page.length; end++) {
    assert.throws(() => scanPage(page.subarray(0, end)), { code: 'malformed' }, `cut at ${end}`);
  }
  const text = page.toString();
  const spoilt = [
    `${text}x`,
    text.replace('"_version":1,', ''),
    text.replace('"_version":1', '"_version":-1'),
    text.replace('"_version":1', '"_version":"1"'),
    text.replace('"_id":"a"', '"_id":7'),
    text.replace('"_id":"a",', ''),
    text.replace('{"a":[{"b":"x"}]}', '"text"'),
    text.replace('{"b":"x"}]}', '{"b":"x"}]]'),
    text.replace('"timed_out":false,', ''),
    text.replace('"hits":[', '"hits":7,"x":['),
    '[]',
    'null',
  ];
  for (const each of spoilt) assert.throws(() => scanPage(Buffer.from(each)), { code: 'malformed' }, each);
});

test('a page that is nested a million levels deep is read without a stack', () => {
  const deep = `{"a":${'['.repeat(1_000_000)}${']'.repeat(1_000_000)}}`;
  const text = JSON.stringify({ ...around, hits: { hits: [{ _id: 'a', _version: 1, _source: 0, sort: [1] }] } });
  const { words } = scanPage(Buffer.from(text.replace('"_source":0', `"_source":${deep}`))).hits;
  assert.equal((words[AT.source + 1] ?? 0) - (words[AT.source] ?? 0), deep.length);
});

test('documents without a source are counted, not invented', () => {
  const page = pageOf([
    { _id: 'a', _version: 1, sort: [1] },
    { _id: 'b', _version: 1, _source: {}, sort: [2] },
  ]);
  const { documents, withoutSource } = rendered(page);
  assert.deepEqual([documents, withoutSource], [1, 1]);
});

test('the sum of documents does not depend on their order, and on each of id, routing and source', () => {
  const sumOf = (hits: readonly object[], operation: 'index' | 'create' = 'index'): string => {
    const sum = documentSum();
    const page = pageOf(hits.map((each) => ({ _version: 1, sort: [1], ...each })));
    rendered(page, operation, sum);
    return sum.text();
  };
  const [a, b] = [
    { _id: 'a', _source: { x: 1 } },
    { _id: 'b', _routing: 'r', _source: { x: 2 } },
  ];
  const sum = sumOf([a, b]);
  assert.equal(sumOf([b, a]), sum);
  assert.equal(sumOf([b, { ...a, _version: 7 }]), sum);
  assert.equal(sumOf([a, b], 'create'), sum);
  const parts = documentSum();
  for (const each of [a, b]) parts.addSum(sumOf([each]));
  assert.equal(parts.text(), sum);
  const others = [
    [a],
    [a, b, b],
    [a, { ...b, _routing: 's' }],
    [a, { ...b, _source: { x: 1 } }],
    [
      { ...a, _source: { x: 2 } },
      { ...b, _source: { x: 1 } },
    ],
  ];
  for (const other of others) assert.notEqual(sumOf(other), sum);
});

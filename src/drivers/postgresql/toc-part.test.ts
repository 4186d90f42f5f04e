import assert from 'node:assert/strict';
import { it } from 'node:test';
import { memoryParts, testContext } from '../../core/testing.ts';
import { type DatabaseToc, putToc, readToc } from './toc-part.ts';

it('a table of contents that no restore would read is refused by the capture', async () => {
  const ctx = testContext();
  const locale = { provider: 'libc', collate: 'C', ctype: 'C', locale: null, rules: null } as const;
  const properties = { connections: -1, comment: null, grants: [], settings: [] };
  const facts = { name: 'shop', encoding: 'UTF8', locale, owner: 'app', tablespace: null, properties };
  const entry = { id: 1, what: 'TABLE', schema: 'public', name: 't', owner: 'ä', tablespace: '', needs: [], field: 1 };
  const toc = { writtenBy: '16.1', server: '16.1', database: 'shop', blocksAt: 1, bytes: 2 };
  const known: DatabaseToc = { facts, toc: { ...toc, entries: [{ ...entry, data: null }] }, publicSchema: true };
  const { sink, source } = memoryParts();
  await putToc(ctx, sink, known);
  assert.deepEqual(await readToc(ctx, source, 'shop'), known);
  const { bytes } = await source.part(ctx, 'databases/shop.toc.json');
  await putToc(ctx, memoryParts().sink, known, bytes);
  const refused = putToc(ctx, memoryParts().sink, known, bytes - 1);
  await assert.rejects(refused, { code: 'value-too-large', message: /database shop: .*1 objects/ });
});

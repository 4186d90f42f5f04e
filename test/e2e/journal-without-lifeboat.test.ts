import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { localBucket } from '../../src/buckets/local/bucket.ts';
import type { StoreFormat } from '../../src/core/storage.ts';
import { testContext } from '../../src/core/testing.ts';
import { plainFormat } from '../../src/stores/plain/store.ts';
import { resticFormat } from '../../src/stores/restic/store.ts';
import { missingTools } from '../servers/need.ts';
import { blocks } from './page.ts';

const LINES_MAX = 40;
const dir = mkdtempSync(join(tmpdir(), 'lifeboat-journal-'));
after(() => rmSync(dir, { recursive: true, force: true }));
writeFileSync(join(dir, 'password'), 'sesame\n');

const STORES: readonly { title: string; format: StoreFormat; settings: object; secret: readonly string[] }[] = [
  {
    title: 'restic',
    format: resticFormat,
    settings: { stack: 'shop', password: 'sesame' },
    secret: [join(dir, 'password')],
  },
  { title: 'plain', format: plainFormat, settings: { stack: 'shop' }, secret: [] },
];
const skip = missingTools('python3', 'openssl', 'zstd');

for (const [at, { title, format, settings, secret }] of STORES.entries()) {
  test(`the script of the page brings the bytes of a journal back from a ${title} store`, { skip }, async () => {
    const script = join(dir, `${title}.py`);
    writeFileSync(script, blocks('python')[at] ?? '');
    assert.ok((blocks('python')[at] ?? '').split('\n').length - 1 <= LINES_MAX);
    const { place, lineage, bodies } = await filled(title, format, settings);
    const run = (...args: readonly string[]): { text: Buffer; error: string; status: number | null } => {
      const ran = spawnSync('python3', [script, place, ...secret, 'main-db', lineage, ...args]);
      return { text: ran.stdout, error: ran.stderr.toString(), status: ran.status };
    };
    const first = run();
    assert.ok(first.text.equals(Buffer.concat(bodies.slice(0, 2))), first.error);
    assert.match(first.error, /a gap from 0020 to 0030: the slot was lost/);
    const rest = run('0030');
    assert.ok(rest.text.equals(bodies[2] ?? Buffer.of()) && rest.status === 0, rest.error);

    const prefix = title === 'restic' ? 'lifeboat' : '0-lifeboat';
    const folder = join(place, prefix, 'journal/main-db', lineage, '0000');
    const [one = '', two = ''] = readdirSync(folder).sort();
    copyFileSync(join(folder, one), join(folder, two));
    const swapped = run();
    assert.ok(swapped.text.equals(bodies[0] ?? Buffer.of()));
    assert.match(swapped.error, /was changed/);
    rmSync(join(folder, two));
    assert.match(run().error, /does not follow/);
    assert.equal(run('0030').status, 0);
  });
}

/** A journal with a gap in a store in a directory. */
async function filled(
  title: string,
  format: StoreFormat,
  settings: object,
): Promise<{ place: string; lineage: string; bodies: readonly Buffer[] }> {
  const ctx = testContext();
  const place = join(dir, title);
  const bucket = localBucket(place);
  await format.create(ctx, bucket, settings);
  await using store = await format.open(ctx, bucket, settings);
  await using writer = await store.journal('main-db').write(ctx);
  const cut = (position: string) => ({ position, at: '2026-01-01T00:00:00Z' });
  const start = { from: cut('0000'), base: null, why: 'first', source: null, parent: null };
  const { id: lineage } = await writer.begin(ctx, start);
  const bodies = ['one\n\n', 'two\0'.repeat(100_000), '\nthree'].map((text) => Buffer.from(text));
  const at = '2026-01-01T00:00:01Z';
  const between = ['0000', '0010', '0020', '0030', '0040'].map(cut);
  const [a = cut('0'), b = a, c = a, d = a, e = a] = between;
  const [one, two, three] = bodies as [Buffer, Buffer, Buffer];
  await writer.append(ctx, { from: a, to: b, at, body: one });
  await writer.append(ctx, { from: b, to: c, at, body: two });
  await writer.gap(ctx, { from: c, to: d, at, reason: 'the slot was lost' });
  await writer.append(ctx, { from: d, to: e, at, body: three });
  await bucket.close();
  return { place, lineage, bodies };
}

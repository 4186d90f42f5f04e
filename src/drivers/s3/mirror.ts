// Folders that `mc mirror` has filled for older scripts: minio_20260128_030000/BUCKET/KEY. They have the bytes of the
// objects and nothing else of them.

import { bytesOf } from '../../core/bytes.ts';
import type { RecognisedFolder } from '../../core/driver.ts';
import { spool } from '../../core/spool.ts';
import { BUCKETS_PART, type CapturedBuckets } from './buckets.ts';
import { type Entry, entryLine, OBJECTS_PART, partOf } from './entries.ts';

const BUCKET = /^[A-Za-z0-9][A-Za-z0-9._-]{1,62}$/;

export function recogniseFolder(folderName: string): RecognisedFolder | null {
  const [, stamp] = /^minio[-_](\d{4}-\d{2}-\d{2}-\d{6}|\d{8}_\d{6})$/.exec(folderName) ?? [];
  return stamp === undefined ? null : { stamp, parts };
}

const parts: RecognisedFolder['parts'] = async function* (ctx, files) {
  await using lines = spool(ctx.scratch, 'the list of objects');
  const buckets: string[] = [];
  let [at, left] = ['', 0];
  for await (const file of files) {
    const slash = file.path.indexOf('/');
    const bucket = file.path.slice(0, Math.max(slash, 0));
    if (!BUCKET.test(bucket)) {
      left += 1;
      continue;
    }
    const modified = file.modifiedAt.toISOString();
    if (modified > at) at = modified;
    if (buckets.at(-1) !== bucket) buckets.push(bucket);
    const entry: Entry = {
      bucket,
      key: file.path.slice(slash + 1),
      version: null,
      latest: true,
      modified,
      etag: '',
      bytes: file.bytes,
      sha256: file.sha256,
    };
    await lines.add(entryLine(entry));
    yield { name: partOf(entry), file };
  }
  if (left > 0) ctx.log.warn('files of a mirror that lie in no bucket were left out', { files: left });
  if (buckets.length === 0) return;
  const document: CapturedBuckets = {
    server: '',
    at,
    buckets: buckets.map((name) => ({ name, prefix: '', exclude: [], versions: false, settings: {}, unknown: {} })),
  };
  yield { name: BUCKETS_PART, body: bytesOf(`${JSON.stringify(document, null, 2)}\n`) };
  yield { name: OBJECTS_PART, body: lines.body() };
};

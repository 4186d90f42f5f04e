// A folder that other programs have filled with the data of one component. Each file is read once, and stays as it is.

import { measured } from '../../core/bytes.ts';
import type { FolderFile, RecognisedFolder } from '../../core/driver.ts';
import type { Context } from '../../core/model.ts';
import { mapOrdered } from '../../core/parallel.ts';
import type { Bucket } from '../../core/storage.ts';
import { entrySpool } from './entries.ts';
import { indexKey, partKey } from './keys.ts';
import type { Proof } from './manifest.ts';
import { putBody } from './objects.ts';

const READS_AT_ONCE = 8;

export interface Mirror {
  readonly id: string;
  readonly folder: string;
  readonly component: string;
  readonly known: RecognisedFolder;
}

/** Null when nothing in it is anything that a restore could bring back. */
export async function adoptMirror(
  ctx: Context,
  bucket: Bucket,
  { id, folder, component, known }: Mirror,
): Promise<{ readonly proof: Proof; readonly parts: { readonly count: number; readonly bytes: number } } | null> {
  await using spool = entrySpool(ctx);
  let [count, bytes, stored] = [0, 0, 0];
  const files = mapOrdered(bucket.list(ctx, folder), READS_AT_ONCE, async (info): Promise<FolderFile> => {
    ctx.progress({ task: id, phase: 'import', items: count });
    const body = measured(bucket.get(ctx, info.key));
    for await (const _ of body.body) ctx.signal.throwIfAborted();
    return { path: info.key.slice(folder.length), modifiedAt: info.modifiedAt, ...body.sum() };
  });
  for await (const part of known.parts(ctx, files)) {
    let key: string;
    let sum: { bytes: number; sha256: string };
    if ('file' in part) {
      key = folder + part.file.path;
      sum = { bytes: part.file.bytes, sha256: part.file.sha256 };
      stored += sum.bytes;
    } else {
      key = partKey(id, component, part.name);
      const body = measured(part.body);
      await putBody(ctx, bucket, key, body.body);
      sum = body.sum();
    }
    await spool.add([{ name: part.name, key, gzip: false, ...sum, stored: sum }]);
    count += 1;
    bytes += sum.bytes;
  }
  if (count === 0) return null;
  const list = measured(spool.lines());
  await putBody(ctx, bucket, indexKey(id, component), list.body);
  const proof = { index: list.sum(), files: [{ file: folder, size: stored }], folder: null };
  return { proof, parts: { count, bytes } };
}

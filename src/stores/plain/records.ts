import { z } from 'zod';
import type { Bucket, RecordKind, Records } from '../../core/storage.ts';
import { decodeSegment, encodeSegment, OWN } from './keys.ts';
import { getJson, putJson } from './objects.ts';

const END = '.json';

/** Small documents under 0-lifeboat/, one object each. */
export function plainRecords(bucket: Bucket): Records {
  const folder = (kind: RecordKind): string => `${OWN}${kind}/`;
  const key = (kind: RecordKind, id: string): string => `${folder(kind)}${encodePath(id)}${END}`;
  return {
    put: (ctx, kind, id, value) => putJson(ctx, bucket, key(kind, id), value),
    get: (ctx, kind, id) => getJson(ctx, bucket, key(kind, id), z.unknown()),
    async *list(ctx, kind, prefix = '') {
      const below = folder(kind);
      for await (const { key: found } of bucket.list(ctx, `${below}${encodePath(prefix)}`)) {
        if (found.endsWith(END)) yield decodePath(found.slice(below.length, -END.length));
      }
    },
    delete: (ctx, kind, id) => bucket.delete(ctx, key(kind, id)),
  };
}

function encodePath(id: string): string {
  return id.split('/').map(encodeSegment).join('/');
}
function decodePath(path: string): string {
  return path.split('/').map(decodeSegment).join('/');
}

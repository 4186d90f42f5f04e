// What the last look saw, in the order of listings: a scratch file, walked in step with the next look.

import { lineBatchesOf } from '../../../core/bytes.ts';
import type { Context } from '../../../core/model.ts';
import { spool } from '../../../core/spool.ts';
import { type Entry, entryOrder } from '../entries.ts';
import type { Listed } from '../pages.ts';

type Seen = Pick<Entry, 'bucket' | 'key' | 'version' | 'modified'> & Pick<Listed, 'etag' | 'bytes' | 'marker'>;

export interface Known extends AsyncDisposable {
  /** In the order of entries. */
  add(bucket: string, page: readonly Omit<Seen, 'bucket'>[]): Promise<void>;
  /** Nothing is added any more. */
  walk(): Walk;
}
/** Asked in the order of entries. */
export interface Walk {
  /** Those before this key, or all that are left. */
  before(bucket: string, key: string): Promise<Seen[]>;
  at(bucket: string, key: string): Promise<Seen[]>;
  rest(): Promise<Seen[]>;
}

export function knownObjects(ctx: Context): Known {
  const lines = spool(ctx.scratch, 'the list of objects');
  return {
    async add(bucket, page) {
      const texts = page.map(({ key, version, etag, modified, bytes, marker }) => {
        return `${JSON.stringify([bucket, key, version, etag, modified, bytes, marker])}\n`;
      });
      if (texts.length > 0) await lines.add(texts.join(''));
    },
    walk: () => walkOf(lineBatchesOf(lines.body())),
    [Symbol.asyncDispose]: () => lines[Symbol.asyncDispose](),
  };
}

function walkOf(batches: AsyncIterable<string[]>): Walk {
  const iterator = batches[Symbol.asyncIterator]();
  let held: Seen[] = [];
  let at = 0;
  async function next(): Promise<Seen | undefined> {
    while (at >= held.length) {
      const batch = await iterator.next();
      if (batch.done) return undefined;
      held = batch.value.filter((line) => line !== '').map(seenFrom);
      at = 0;
    }
    return held[at];
  }
  async function take(wanted: (seen: Seen) => boolean): Promise<Seen[]> {
    const taken: Seen[] = [];
    for (let seen = await next(); seen && wanted(seen); seen = await next()) {
      taken.push(seen);
      at += 1;
    }
    return taken;
  }
  return {
    before: (bucket, key) => take((seen) => entryOrder(seen, { bucket, key }) < 0),
    at: (bucket, key) => take((seen) => entryOrder(seen, { bucket, key }) === 0),
    rest: () => take(() => true),
  };
}

/** A line of our own. */
function seenFrom(line: string): Seen {
  const [bucket, key, version, etag, modified, bytes, marker] = JSON.parse(line);
  return { bucket, key, version, etag, modified, bytes, marker };
}

/** Whether it is the same object, as far as a listing tells. */
export function isAsSeen(seen: Seen, listed: Omit<Seen, 'bucket'>): boolean {
  return (
    seen.version === listed.version &&
    seen.marker === listed.marker &&
    seen.etag === listed.etag &&
    seen.bytes === listed.bytes &&
    seen.modified === listed.modified
  );
}

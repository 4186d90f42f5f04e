// What a target has already, walked in step with what is restored into it.

import type { Context } from '../../core/model.ts';
import type { Client } from './client.ts';
import type { Entry } from './entries.ts';
import { listed } from './listing.ts';
import { aclOf, describeObject } from './objects.ts';
import type { Listed } from './pages.ts';
import { DELETED_TOGETHER, deleteAll } from './target.ts';
import { keyOrder } from './text.ts';
import { type Place, retentionLeft } from './writing.ts';
import { canonicalXml, parseXml } from './xml.ts';

export interface There extends AsyncDisposable {
  /** What the target has under this key, its versions from the oldest on. Asked in the order of keys. */
  of(key: string): Promise<readonly Listed[]>;
  /** Call it after the last key. */
  end(): Promise<void>;
}
export interface ThereOptions {
  readonly bucket: string;
  readonly prefix: string;
  readonly exclude: readonly string[];
  readonly versions: boolean;
  /** What the point does not have goes. */
  readonly purge: boolean;
  /** Told of what could not be deleted. */
  readonly left: (reasons: readonly string[]) => void;
}

export function thereIn(ctx: Context, client: Client, options: ThereOptions): There {
  const { bucket, prefix, exclude, versions, purge, left } = options;
  const pages = listed(ctx, client, { bucket, prefix, exclude, versions })[Symbol.asyncIterator]();
  let page: readonly Listed[] = [];
  let at = 0;
  let doomed: Listed[] = [];
  async function here(): Promise<Listed | undefined> {
    while (at >= page.length) {
      const next = await pages.next();
      if (next.done) return undefined;
      page = next.value;
      at = 0;
    }
    return page[at];
  }
  async function passOver(extra: Listed): Promise<void> {
    if (!purge) return;
    doomed.push(extra);
    if (doomed.length < DELETED_TOGETHER) return;
    await flush();
  }
  async function flush(): Promise<void> {
    const batch = doomed;
    doomed = [];
    left(await deleteAll(ctx, client, bucket, batch));
  }
  return {
    async of(key) {
      const found: Listed[] = [];
      for (let each = await here(); each; each = await here()) {
        const order = keyOrder(each.key, key);
        if (order > 0) break;
        if (order === 0) found.push(each);
        else await passOver(each);
        at += 1;
      }
      return found;
    },
    async end() {
      for (let each = await here(); each; each = await here()) {
        await passOver(each);
        at += 1;
      }
      await flush();
    },
    async [Symbol.asyncDispose]() {
      await pages.return?.();
    },
  };
}

/** Whether the object there is this one, with all that belongs to it; looks at it where the listing can't tell. */
export async function isSame(
  ctx: Context,
  client: Client,
  { bucket, lockable }: Pick<Place, 'bucket' | 'lockable'>,
  entry: Entry,
  there: Listed | undefined,
): Promise<boolean> {
  if (!there || there.etag !== entry.etag || there.bytes !== entry.bytes || there.etag === '') return false;
  const at = { bucket, listed: there };
  const now = await describeObject(ctx, client, at);
  if (now === null || about(now) !== about(entry)) return false;
  // Where nothing can be locked, to write it again would change nothing.
  if (lockable && !isLockedAs(ctx, now, entry)) return false;
  return entry.acl === undefined || accessIn(now.acl ?? (await aclOf(ctx, client, at))) === accessIn(entry.acl);
}

/** The versions that are still to be written; null when what is there is no beginning of this history. */
export function historyLeft(run: readonly Entry[], there: readonly Listed[]): readonly Entry[] | null {
  const begins = there.every((each, i) => {
    const entry = run[i];
    if (!entry || each.marker !== (entry.marker ?? false)) return false;
    return each.marker || (each.etag === entry.etag && each.bytes === entry.bytes);
  });
  return begins ? run.slice(there.length) : null;
}

function about({ headers = {}, metadata = {}, tags = {}, storageClass = '' }: Entry): string {
  const sorted = [headers, metadata, tags].map((texts) => Object.entries(texts).sort(([a], [b]) => (a < b ? -1 : 1)));
  return JSON.stringify([...sorted, storageClass]);
}

/** Retention can only be made longer. */
function isLockedAs(ctx: Context, now: Entry, was: Entry): boolean {
  const left = retentionLeft(ctx, was);
  const { mode, until = '' } = now.retention ?? {};
  const retained = !left || (mode === left.mode && Date.parse(until) >= Date.parse(left.until));
  return retained && now.hold === was.hold;
}

function accessIn(acl: string | null): string {
  return acl === null ? '' : canonicalXml(parseXml(acl));
}

// What a restore has written and hashed on its way: the server took it with this SHA-256 in the signature. As long as
// the listing tells that nobody has written the object since, to read it again would tell nothing of its content.

import { type Entry, partOf } from './entries.ts';
import type { Listed } from './pages.ts';

/** Others are read again. */
const OBJECTS_MAX = 100_000;
/** Smaller ones with more than a content type are read again, which tells as well whether the server has kept that. */
const DESCRIBED_BYTES_MIN = 256 * 1024;
/** Servers tell times in seconds. */
const TICK_MS = 1000;

/** What a server answered to a write. */
export interface Receipt {
  /** '' where there are none. */
  readonly version: string;
  readonly etag: string;
  /** By its clock; not a number when it did not tell. */
  readonly atMs: number;
}
export interface Known {
  readonly sha256: string;
  /** Null: what belongs to it is to be asked for. */
  readonly headers: NonNullable<Entry['headers']> | null;
}
export interface Written {
  /** `bucket` and `version` as they will be listed. */
  note(bucket: string, entry: Entry, version: string | null, receipt: Receipt): void;
  /** Null for what was not written here, or may have been written again since. */
  of(bucket: string, listed: Listed): Known | null;
}

export function writtenObjects(): Written {
  const objects = new Map<string, Known & { readonly etag: string; readonly untilMs: number }>();
  const placeOf = (bucket: string, key: string, version: string | null): string =>
    partOf({ bucket, key, version }).slice(-32);
  return {
    note(bucket, entry, version, { etag, atMs }) {
      const { key, sha256, bytes = 0, headers = {}, metadata, tags, retention, hold, storageClass } = entry;
      const more = [metadata, tags, retention, hold, storageClass].some((each) => each !== undefined);
      const isPlain = !more && Object.keys(headers).every((name) => name === 'content-type');
      if (!sha256 || etag === '' || Number.isNaN(atMs) || (!isPlain && bytes < DESCRIBED_BYTES_MIN)) return;
      if (objects.size >= OBJECTS_MAX) return;
      const known = { sha256, headers: isPlain ? headers : null, etag, untilMs: atMs + TICK_MS };
      objects.set(placeOf(bucket, key, version), known);
    },
    of(bucket, { key, version, etag, modified }) {
      const known = objects.get(placeOf(bucket, key, version));
      return known && known.etag === etag && Date.parse(modified) < known.untilMs ? known : null;
    },
  };
}

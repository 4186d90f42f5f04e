// What to read at once: a window of a stream's blobs, and within it runs of neighbours that take one request each.

import type { ByteRange } from '../../core/model.ts';
import type { BlobIndex } from './index.ts';
import { plainLength } from './pack.ts';
import { lookUp, RUN_BYTES_MAX, type Run, type WantedBlob } from './reader-blobs.ts';

export const ID_BYTES = 32;
/** Two packs are filled at a time, so that every other blob of a stream lies next to the one before the last. */
const WINDOW_BYTES = 4 * 1024 * 1024;
/** To read so much for nothing is cheaper than another request. */
const GAP_BYTES_MAX = 128 * 1024;

export interface StreamedBlob extends WantedBlob {
  /** The part of its plain bytes that is wanted. */
  readonly skip: number;
  readonly take: number;
}
/** Some blobs of a stream, in its order. */
export interface Window {
  readonly blobs: readonly StreamedBlob[];
  /** Plain bytes of all. */
  readonly bytes: number;
}

/**
 * The windows of a stream of blobs. Lazy: a stream may have a million. Fails at a blob that no index knows, once all
 * before it are in windows.
 */
export function* planWindows(index: BlobIndex, ids: Uint8Array, range?: ByteRange): Generator<Window, void> {
  let blobs: StreamedBlob[] = [];
  let bytes = 0;
  let lost: { readonly error: unknown } | undefined;
  try {
    for (const blob of wanted(index, ids, range)) {
      const length = plainLength(blob.place);
      if (blobs.length > 0 && bytes + length > WINDOW_BYTES) {
        yield { blobs, bytes };
        blobs = [];
        bytes = 0;
      }
      blobs.push(blob);
      bytes += length;
    }
  } catch (error) {
    lost = { error };
  }
  if (blobs.length > 0) yield { blobs, bytes };
  if (lost) throw lost.error;
}

/** Every blob once, neighbours together. */
export function runsOf(blobs: readonly WantedBlob[]): Run[] {
  const once = new Map(blobs.map((blob) => [blob.entry, blob]));
  const sorted = [...once.values()].sort((a, b) => {
    if (a.place.pack !== b.place.pack) return a.place.pack < b.place.pack ? -1 : 1;
    return a.place.offset - b.place.offset;
  });
  const runs: [WantedBlob, ...WantedBlob[]][] = [];
  let end = 0;
  let plain = 0;
  for (const blob of sorted) {
    const { pack, offset, length } = blob.place;
    const run = runs.at(-1);
    const isNear = run?.[0].place.pack === pack && offset - end <= GAP_BYTES_MAX;
    const fits =
      run && offset + length - run[0].place.offset <= RUN_BYTES_MAX && plain + plainLength(blob.place) <= RUN_BYTES_MAX;
    if (run && isNear && fits) run.push(blob);
    else runs.push([blob]);
    plain = (isNear && fits ? plain : 0) + plainLength(blob.place);
    end = offset + length;
  }
  return runs;
}

function* wanted(index: BlobIndex, ids: Uint8Array, range?: ByteRange): Iterable<StreamedBlob> {
  const from = range?.offset ?? 0;
  const to = range ? range.offset + range.length : Number.POSITIVE_INFINITY;
  let start = 0;
  for (let at = 0; at < ids.length && start < to; at += ID_BYTES) {
    const id = ids.subarray(at, at + ID_BYTES);
    const blob = lookUp(index, id);
    const end = start + plainLength(blob.place);
    if (end > from) {
      const skip = Math.max(0, from - start);
      yield { ...blob, skip, take: Math.min(end, to) - start - skip };
    }
    start = end;
  }
}

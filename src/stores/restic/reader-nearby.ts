// Small blobs that were written one after another are mostly read so: who has asked for two neighbours is given the
// following ones from memory.

import type { Context } from '../../core/model.ts';
import { plainLength } from './pack.ts';
import {
  lookUp,
  type OpenedRun,
  openRun,
  type Reading,
  RUN_BYTES_MAX,
  readBlob,
  type WantedBlob,
} from './reader-blobs.ts';

const AHEAD_BYTES_MIN = 128 * 1024;
const AHEAD_BYTES_MAX = 2 * 1024 * 1024;
/** Who has come so far will come on: the next group is fetched before it is asked for. */
const PREFETCH_FROM_BYTES = 512 * 1024;
/** Two packs are filled at a time, so a walk alternates between two of them; and each has a next one. */
const GROUPS_MAX = 6;
/** Requests that run in parallel come a little out of order. */
const STRAYING_MAX = 64;
const PACKS_REMEMBERED_MAX = 256;

/** Entries `first` to `end` (not included) of the index. */
interface Group {
  readonly first: number;
  readonly end: number;
  /** Null when it can't be read: `readBlob` says why. */
  readonly opened: Promise<OpenedRun | null>;
}
interface Trail {
  next: number;
  bytes: number;
}

export interface Nearby {
  /** A copy of its own. */
  blob(ctx: Context, id: Uint8Array): Promise<Buffer>;
}

export function nearbyBlobs(reading: Reading): Nearby {
  const { index } = reading;
  const groups: Group[] = []; // the least recently used first
  const trails = new Map<string, Trail>();

  function groupOf(entry: number): Group | undefined {
    const at = groups.findIndex(({ first, end }) => entry >= first && entry < end);
    if (at < 0) return undefined;
    const [group] = groups.splice(at, 1);
    if (group) groups.push(group);
    return group;
  }

  /** How much to read from this entry on, by what was read of its pack before; 0 for the blob alone. */
  function follow(pack: string, entry: number): Trail {
    const before = trails.get(pack);
    trails.delete(pack);
    const follows = before && entry >= before.next && entry - before.next < STRAYING_MAX;
    const bytes = follows ? Math.min(Math.max(before.bytes * 2, AHEAD_BYTES_MIN), AHEAD_BYTES_MAX) : 0;
    const trail = { next: entry + 1, bytes };
    trails.set(pack, trail);
    for (const oldest of trails.keys()) {
      if (trails.size <= PACKS_REMEMBERED_MAX) break;
      trails.delete(oldest);
    }
    return trail;
  }

  function load(ctx: Context, entry: number, trail: Trail): Group | undefined {
    const run = neighbours(reading, entry, trail.bytes);
    trail.next = entry + Math.max(1, run.length);
    const [first, ...rest] = run;
    if (!first || rest.length === 0) return undefined;
    const opened = openRun(ctx, reading, [first, ...rest]).catch(() => null);
    const group = { first: entry, end: trail.next, opened };
    groups.push(group);
    if (groups.length > GROUPS_MAX) void groups.shift()?.opened.then((oldest) => oldest?.release());
    return group;
  }

  function prefetch(ctx: Context, entry: number, group: Group, pack: string): void {
    const trail = trails.get(pack);
    const isFar = trail && trail.bytes >= PREFETCH_FROM_BYTES && trail.next === group.end;
    if (!isFar || entry < (group.first + group.end) / 2 || group.end >= index.size) return;
    if (index.placeAt(group.end).pack === pack) load(ctx, group.end, trail);
  }

  return {
    async blob(ctx, id) {
      const wanted = lookUp(index, id);
      const { entry, place } = wanted;
      const group = groupOf(entry) ?? load(ctx, entry, follow(place.pack, entry));
      if (group) {
        prefetch(ctx, entry, group, place.pack);
        const piece = (await group.opened)?.plain[entry - group.first];
        if (piece && groups.includes(group)) return Buffer.from(piece);
      }
      return await readBlob(ctx, reading, wanted);
    },
  };
}

/** The blobs that lie from this entry on, one after another in its pack, up to about so many sealed bytes. */
function neighbours({ index }: Reading, entry: number, bytesMax: number): WantedBlob[] {
  const run: WantedBlob[] = [];
  const first = index.placeAt(entry);
  let offset = first.offset;
  let plain = 0;
  for (let at = entry; at < index.size; at++) {
    const place = index.placeAt(at);
    plain += plainLength(place);
    if (place.pack !== first.pack || place.offset !== offset) break;
    if (place.offset + place.length - first.offset > bytesMax || plain > RUN_BYTES_MAX) break;
    run.push({ id: index.idAt(at), entry: at, place });
    offset += place.length;
  }
  return run;
}

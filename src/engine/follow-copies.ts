// Keeps the journals of the other stores as full as that of the first one. What was stored there is handed on from
// memory as long as there is room; a store that is slow or away reads it later, and holds nobody up.

import { lingering } from '../core/context.ts';
import { isFailure, messageOf } from '../core/errors.ts';
import type { Journal, JournalEntry, JournalWriter, Lineage } from '../core/journal.ts';
import type { Context } from '../core/model.ts';
import { copyJournal } from './copy-journal.ts';
import type { OtherStore } from './follow-stores.ts';
import { type CopyView, pauses } from './follow-views.ts';

/** What all copies together may hold of what came. */
export const HELD_BYTES_MAX = 64 * 1024 * 1024;
/** To end what was begun when all is to stop. */
const LINGER_MS = 10_000;
/** What an entry takes besides its bytes. */
const ENTRY_BYTES = 1024;

export interface CopyRequest {
  readonly component: string;
  readonly from: Journal;
  readonly to: OtherStore;
  /** Bytes that all copies may still hold. */
  readonly room: { bytes: number };
  readonly told: () => void;
}
export interface JournalCopier {
  readonly view: CopyView;
  /** The first store has it now. The bytes are the caller's again when this returns. */
  stored(lineage: Lineage, entry: JournalEntry): void;
  /** Something is there that can only be read. */
  more(): void;
  /** Until the signal; what is held by then is still stored, if that takes some seconds at most. */
  run(ctx: Context): Promise<void>;
}

export function journalCopier(request: CopyRequest): JournalCopier {
  const { component, from, to, told } = request;
  const held = heldEntries(request.room);
  const pause = pauses();
  let needsRead = true; // something that came is not held
  let [isBehind, error]: [boolean, unknown] = [true, null];
  let woken = Promise.withResolvers<void>();

  function show(behind: boolean, failed: unknown): void {
    if (isBehind === behind && error === failed) return;
    [isBehind, error] = [behind, failed];
    told();
  }
  async function keepUp(ctx: Context, writer: JournalWriter, journal: Journal, stopped: Stopped): Promise<void> {
    for (let lineage: Lineage | null = null; ; ) {
      if (needsRead) {
        needsRead = false;
        lineage = await copyJournal(ctx, { from, to: journal, writer });
        pause.reset();
      }
      if (!(await handOn(ctx, held, writer, lineage))) needsRead = true;
      show(needsRead, null);
      if (stopped.isTrue()) return;
      woken = Promise.withResolvers();
      if (!needsRead && held.isEmpty()) await Promise.race([woken.promise, stopped.promise]);
    }
  }
  async function once(ctx: Context, stopped: Stopped): Promise<void> {
    using linger = lingering(ctx, LINGER_MS);
    const { store } = await to.get(ctx);
    const journal = store.journal(component);
    await using writer = await journal.write(linger.ctx);
    needsRead = true;
    await keepUp(linger.ctx, writer, journal, stopped);
  }

  return {
    get view() {
      return { store: to.name, error, behind: isBehind };
    },
    stored(lineage, entry) {
      // Without room, or while nobody can store it, it is read later.
      if (error !== null || !held.add(lineage, entry)) needsRead = true;
      woken.resolve();
    },
    more() {
      needsRead = true;
      woken.resolve();
    },
    async run(ctx) {
      const stopped = stopOf(ctx);
      while (!ctx.signal.aborted) {
        try {
          await once(ctx, stopped);
        } catch (failed) {
          if (ctx.signal.aborted) break;
          held.clear();
          const hint = isFailure(failed) ? failed.hint : undefined;
          const fields = { component, store: to.name, again_in_ms: pause.next(), reason: messageOf(failed), hint };
          ctx.log.warn('a journal is not copied to another store for now', fields);
          show(true, failed);
          await pause.wait(ctx).catch(() => {}); // the signal is looked at next
        }
      }
      held.clear();
    },
  };
}

interface HeldEntry {
  readonly lineage: string;
  readonly entry: JournalEntry;
}
interface HeldEntries {
  /** False when there is no room for it. */
  add(lineage: Lineage, entry: JournalEntry): boolean;
  next(): HeldEntry | undefined;
  isEmpty(): boolean;
  clear(): void;
}
function heldEntries(room: { bytes: number }): HeldEntries {
  const held: (HeldEntry & { readonly bytes: number })[] = [];
  const next = (): HeldEntry | undefined => {
    const first = held.shift();
    room.bytes += first?.bytes ?? 0;
    return first;
  };
  return {
    next,
    isEmpty: () => held.length === 0,
    add({ id }, entry) {
      const bytes = ENTRY_BYTES + ('body' in entry ? entry.body.length : 0);
      if (room.bytes < bytes) return false;
      room.bytes -= bytes;
      held.push({ lineage: id, entry: 'body' in entry ? { ...entry, body: Buffer.from(entry.body) } : entry, bytes });
      return true;
    },
    clear() {
      while (next());
    },
  };
}

/** Stores what is held as long as each goes on from the one before. False when it has to be read. */
async function handOn(
  ctx: Context,
  held: HeldEntries,
  writer: JournalWriter,
  lineage: Lineage | null,
): Promise<boolean> {
  for (let next = held.next(); next; next = held.next()) {
    const { entry } = next;
    const end = writer.durable()?.position;
    if (next.lineage !== lineage?.id || end === undefined || end < entry.from.position) return false;
    if (entry.to.position <= end) continue;
    if (entry.from.position !== end) return false;
    await ('body' in entry ? writer.append(ctx, entry) : writer.gap(ctx, entry));
  }
  return true;
}

interface Stopped {
  readonly promise: Promise<void>;
  isTrue(): boolean;
}
function stopOf({ signal }: Context): Stopped {
  const promise = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  return { promise, isTrue: () => signal.aborted };
}

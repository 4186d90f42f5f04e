// The rows of large tables go from the store into several sessions at once: they wait neither until an archive lies in
// scratch space, nor for the one session that would load all of a table.

import { interruption, withSignal } from '../../core/context.ts';
import type { Bytes, Context, Source } from '../../core/model.ts';
import { mapBounded } from '../../core/parallel.ts';
import { BLOCK_DATA, damaged, INT_BYTES, intAt, type Toc, type TocEntry } from './archive.ts';
import type { CopySession } from './restore-copy.ts';

/** Of a table that is worth a session of each job. */
const LARGE_BYTES = 8 * 1024 * 1024;
/** What one session is given at a time, about: little enough that the rows come to lie nearly in their old order. */
const PIECE_BYTES = 128 * 1024;
const NEWLINE = 0x0a;
/** What may be left of a block within the mark behind its last row, whose newlines are none of rows. */
const END_BYTES = 2 * (INT_BYTES + 1) + INT_BYTES;

/** The entries of an archive, each in one of them. */
export interface Steps {
  /** Schemas, types, functions, tables; and the rows of small tables, which a check of large ones may look up. */
  readonly before: readonly TocEntry[];
  /** The rows of large tables. */
  readonly large: readonly TocEntry[];
  /** Large objects, indexes, constraints, privileges. */
  readonly after: readonly TocEntry[];
}

/** Null when no table is large. In an archive each entry comes after those that it needs. */
export function stepsOf({ entries }: Toc): Steps | null {
  const rows = entries.filter(({ what }) => what === 'TABLE DATA');
  const ids = new Set(rows.map(({ id }) => id));
  // An extension makes its tables with their foreign keys: pg_restore knows in which order such are filled.
  const tied = new Set(
    rows.flatMap(({ id, needs }) => {
      const others = needs.filter((need) => ids.has(need));
      return others.length === 0 ? [] : [id, ...others];
    }),
  );
  const large = new Set(rows.filter(({ id, data }) => (data?.bytes ?? 0) >= LARGE_BYTES && !tied.has(id)));
  if (large.size === 0) return null;
  const firstRows = entries.findIndex(({ data }) => data !== null);
  const before: TocEntry[] = [];
  const after: TocEntry[] = [];
  // Privileges come last, so that an owner who has none on his own table can fill it.
  for (const [at, entry] of entries.entries()) {
    if (large.has(entry)) continue;
    const { what } = entry;
    const isBefore = what === 'TABLE DATA' || (at < firstRows && !/\bACL\b/.test(what));
    (isBefore ? before : after).push(entry);
  }
  return { before, large: [...large], after };
}

/** Resolves to the bytes that were read. */
export async function restoreRows(
  ctx: Context,
  source: Source,
  {
    part,
    tables,
    jobs,
    open,
  }: {
    part: string;
    tables: readonly TocEntry[];
    jobs: number;
    open: (ctx: Context) => Promise<CopySession>;
  },
): Promise<number> {
  const stop = new AbortController();
  const stoppable = withSignal(ctx, stop.signal);
  await using readers = new AsyncDisposableStack();
  const sharesOf = (entries: readonly TocEntry[]): Shares[] =>
    entries.map((table) => ({ table, rows: readers.use(rowReader(source, part, table, stoppable)), turn: turns() }));
  const { alone, shared } = dealt(tables, jobs);
  const waiting = sharesOf(alone);
  const all = sharesOf(shared);
  await mapBounded(Array.from({ length: jobs }), jobs, async () => {
    /** Others fail in turn when one does: the first reason is the one to tell. */
    const fail = (error: unknown): never => {
      stop.abort(error);
      throw stop.signal.reason;
    };
    try {
      await using session = await open(stoppable);
      const buffer = Buffer.allocUnsafeSlow(2 * PIECE_BYTES);
      const copy = async (shares: Shares, options: { alone: boolean }): Promise<void> => {
        const pieces = piecesOf(shares, { buffer, signal: stoppable.signal, fail });
        await session.copy(shares.table, pieces, options);
      };
      for (let next = waiting.shift(); next; next = waiting.shift()) await copy(next, { alone: true });
      for (const shares of all) await copy(shares, { alone: false });
    } catch (error) {
      fail(error);
    }
  });
  return tables.reduce((sum, { data }) => sum + (data?.bytes ?? 0), 0);
}

/**
 * Tables that one session can fill in no more than its part of the whole time, and those that all fill, one after
 * another, when they are done with these.
 */
export function dealt(
  tables: readonly TocEntry[],
  jobs: number,
): { alone: readonly TocEntry[]; shared: readonly TocEntry[] } {
  const bytesOf = ({ data }: TocEntry): number => data?.bytes ?? 0;
  const part = tables.reduce((sum, table) => sum + bytesOf(table), 0) / jobs;
  const loads = Array.from({ length: jobs }, () => 0);
  const alone: TocEntry[] = [];
  const shared: TocEntry[] = [];
  for (const table of tables.toSorted((a, b) => bytesOf(b) - bytesOf(a))) {
    const least = loads.indexOf(Math.min(...loads));
    const load = (loads[least] ?? 0) + bytesOf(table);
    if (load <= part) loads[least] = load;
    (load <= part ? alone : shared).push(table);
  }
  return { alone, shared };
}

/** What sessions that fill one table have in common. */
interface Shares {
  readonly table: TocEntry;
  readonly rows: RowReader;
  readonly turn: () => Promise<() => void>;
}

async function* piecesOf(
  { rows, turn }: Shares,
  { buffer, signal, fail }: { buffer: Buffer; signal: AbortSignal; fail: (error: unknown) => never },
): Bytes {
  for (;;) {
    const done = await turn();
    let withinRow = false;
    try {
      if (signal.aborted) throw interruption(signal);
      // A row longer than the buffer goes on in the same session.
      do {
        const piece = await rows.fill(buffer).catch(fail); // at once: its session takes a while to end
        if (piece.bytes === 0) return;
        withinRow = !piece.endsRow;
        if (piece.endsRow) done();
        yield buffer.subarray(0, piece.bytes);
      } while (withinRow);
    } finally {
      // Of a row whose session has ended nobody else may take the rest for a row: they wait until all are stopped.
      if (withinRow && !signal.aborted) signal.addEventListener('abort', done, { once: true });
      else done();
    }
  }
}

/** Resolves when all who asked before are done to what says that this one is. */
function turns(): () => Promise<() => void> {
  let last = Promise.resolve();
  return async () => {
    const before = last;
    const mine = Promise.withResolvers<void>();
    last = mine.promise;
    await before;
    return mine.resolve;
  };
}

interface RowReader extends AsyncDisposable {
  /** Puts rows into the buffer; none when there are no more. One at a time. */
  fill(buffer: Buffer): Promise<Piece>;
}
interface Piece {
  readonly bytes: number;
  readonly endsRow: boolean;
}

/** Of a block of an archive, in which pg_dump has made each row a chunk. */
function rowReader(source: Source, part: string, { id, data: place }: TocEntry, ctx: Context): RowReader {
  const range = { offset: place?.at ?? 0, length: place?.bytes ?? 0 };
  const iterator = source.get(ctx, part, range)[Symbol.asyncIterator]();
  let data: Buffer = Buffer.alloc(0);
  let at = 0;
  let unread = range.length;
  let left = 0; // of the chunk we are in
  let state: 'new' | 'rows' | 'ended' = 'new';

  async function have(bytes: number): Promise<void> {
    while (data.length - at < bytes) {
      const rest = Buffer.from(data.subarray(at)); // chunks are borrowed
      const { done, value } = await iterator.next();
      if (done) throw damaged('it ends within the data of a table');
      unread -= value.length;
      const next = Buffer.from(value.buffer, value.byteOffset, value.length);
      data = rest.length > 0 ? Buffer.concat([rest, next]) : next;
      at = 0;
    }
  }
  async function begin(): Promise<void> {
    await have(1 + INT_BYTES);
    if (data[0] !== BLOCK_DATA || intAt(data, 1) !== id) throw damaged(`its block ${id} is not where it should be`);
    at = 1 + INT_BYTES;
    state = 'rows';
  }
  /** Nothing is kept of it: there may be thousands of tables. */
  async function end(): Promise<void> {
    if (at < data.length || !(await iterator.next()).done) throw damaged(`its block ${id} is longer than it should be`);
    data = Buffer.alloc(0);
    at = 0;
  }
  /** Of the bytes that we have, into the buffer behind those that fill it. Apart, as it is run for each row. */
  function move(buffer: Buffer, { bytes: filled, endsRow }: Piece): Piece {
    const { length } = data;
    while (filled < (endsRow ? PIECE_BYTES : buffer.length)) {
      if (left === 0) {
        if (length - at < INT_BYTES) break;
        left = intAt(data, at);
        at += INT_BYTES;
        if (left < 0) throw damaged('a chunk of it has a negative length');
        if (left === 0) {
          state = 'ended';
          break;
        }
      }
      const bytes = Math.min(left, length - at, buffer.length - filled);
      if (bytes === 0) break;
      data.copy(buffer, filled, at, at + bytes);
      filled += bytes;
      at += bytes;
      left -= bytes;
      endsRow = left === 0 && buffer[filled - 1] === NEWLINE && unread + length - at > END_BYTES;
    }
    return { bytes: filled, endsRow };
  }
  return {
    async fill(buffer) {
      if (state === 'new') await begin();
      let piece: Piece = { bytes: 0, endsRow: true };
      while (state === 'rows') {
        piece = move(buffer, piece);
        if (piece.bytes >= (piece.endsRow ? PIECE_BYTES : buffer.length)) return piece;
        if (state === 'rows') await have(left === 0 ? INT_BYTES : 1);
        else await end();
      }
      return { ...piece, endsRow: true };
    },
    async [Symbol.asyncDispose]() {
      await iterator.return?.();
    },
  };
}

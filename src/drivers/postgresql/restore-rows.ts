// The rows of large tables go from the store into several sessions at once: they wait neither until an archive lies in
// scratch space, nor for the one session that would load all of a table.

import { interruption, withSignal } from '../../core/context.ts';
import { Failure } from '../../core/errors.ts';
import type { Bytes, Context, Source } from '../../core/model.ts';
import { mapBounded } from '../../core/parallel.ts';
import { BLOCK_DATA, damaged, INT_BYTES, intAt, intOf, type Toc, type TocEntry } from './archive.ts';

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

/** Resolves to the bytes that were read. `run` has one pg_restore read an archive of these tables from its input. */
export async function restoreRows(
  ctx: Context,
  source: Source,
  {
    part,
    toc,
    tables,
    jobs,
    run,
  }: {
    part: string;
    toc: Toc;
    tables: readonly TocEntry[];
    jobs: number;
    run: (ctx: Context, archive: Bytes) => Promise<void>;
  },
): Promise<number> {
  const stop = new AbortController();
  const stoppable = withSignal(ctx, stop.signal);
  await using readers = new AsyncDisposableStack();
  const blocks = tables.flatMap(({ id, data }) => {
    if (!data) return [];
    const block = source.get(stoppable, part, { offset: data.at, length: data.bytes });
    return [{ id, bytes: data.bytes, rows: readers.use(rowReader(block, id, data.bytes)), turn: turns() }];
  });
  /** Others fail in turn when one does: the first reason is the one to tell. */
  const fail = (error: unknown): never => {
    stop.abort(error);
    throw stop.signal.reason;
  };
  await mapBounded(Array.from({ length: jobs }), jobs, async () => {
    let ended = false;
    /** An archive that is a whole one, but for the rows that others get. */
    async function* share(): Bytes {
      try {
        yield* source.get(stoppable, part, { offset: 0, length: toc.blocksAt });
        const buffer = Buffer.allocUnsafeSlow(2 * PIECE_BYTES);
        for (const { id, rows, turn } of blocks) {
          yield Buffer.of(BLOCK_DATA, ...intOf(id));
          yield* piecesOf(rows, { turn, buffer, signal: stoppable.signal });
          yield intOf(0);
        }
        ended = true;
      } catch (error) {
        fail(error); // at once: its program takes a while to end, and others have nothing to read either
      }
    }
    try {
      await run(stoppable, share());
      if (!ended) throw new Failure('program-failed', `pg_restore ended before it had all its rows of ${part}`);
    } catch (error) {
      fail(error);
    }
  });
  return blocks.reduce((sum, { bytes }) => sum + bytes, 0);
}

async function* piecesOf(
  rows: RowReader,
  { turn, buffer, signal }: { turn: () => Promise<() => void>; buffer: Buffer; signal: AbortSignal },
): Bytes {
  for (;;) {
    const done = await turn();
    let withinRow = false;
    try {
      if (signal.aborted) throw interruption(signal);
      // A row longer than the buffer goes on in the same session.
      do {
        const piece = await rows.fill(buffer);
        if (!piece) return;
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
  /** Puts rows into the buffer as one chunk of an archive; null when there are no more. One at a time. */
  fill(buffer: Buffer): Promise<{ readonly bytes: number; readonly endsRow: boolean } | null>;
}

/** Of a block of an archive. pg_dump makes each row a chunk; many in one are less work for all who come after. */
function rowReader(block: Bytes, id: number, length: number): RowReader {
  const iterator = block[Symbol.asyncIterator]();
  let data: Buffer = Buffer.alloc(0);
  let at = 0;
  let unread = length;
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
    state = 'ended';
    data = Buffer.alloc(0);
    at = 0;
  }
  return {
    async fill(buffer) {
      if (state === 'new') await begin();
      let filled = INT_BYTES;
      let endsRow = true;
      while (state !== 'ended' && filled < (endsRow ? PIECE_BYTES : buffer.length)) {
        if (left === 0) {
          if (data.length - at < INT_BYTES) await have(INT_BYTES);
          left = intAt(data, at);
          at += INT_BYTES;
          if (left < 0) throw damaged('a chunk of it has a negative length');
          if (left === 0) {
            await end();
            break;
          }
        }
        if (at === data.length) await have(1);
        const bytes = Math.min(left, data.length - at, buffer.length - filled);
        data.copy(buffer, filled, at, at + bytes);
        filled += bytes;
        at += bytes;
        left -= bytes;
        endsRow = left === 0 && buffer[filled - 1] === NEWLINE && unread + data.length - at > END_BYTES;
      }
      if (filled === INT_BYTES) return null;
      intOf(filled - INT_BYTES).copy(buffer);
      return { bytes: filled, endsRow: endsRow || state === 'ended' };
    },
    async [Symbol.asyncDispose]() {
      await iterator.return?.();
    },
  };
}

// Walks through PostgreSQL's log record by record, wherever it begins and in whatever pieces it comes. Only what tells
// where a recovery ends is looked at: when transactions ended, and where the last record is.

export interface LogRecord {
  /** Where it begins. */
  readonly at: number;
  /** Where the next one may begin. */
  readonly end: number;
  /** Where the one before it begins, as it says itself. */
  readonly before: number;
  /** Of the end of a transaction: when; RFC 3339 with microseconds. */
  readonly endedAt: string | null;
  readonly isCommit: boolean;
}
export interface RecordReader {
  /** The records that are whole by now, each piece beginning where the one before ended. */
  push(piece: Uint8Array): readonly LogRecord[];
  /** Those in the last page, which is not all there. */
  end(): readonly LogRecord[];
}
export interface ReaderOptions {
  readonly segmentBytes: number;
  /** A record begins where the reader does; else it begins with the first that a page tells of. */
  readonly isRecord: boolean;
}

const PAGE_BYTES = 8192;
const SHORT_HEADER_BYTES = 24;
const LONG_HEADER_BYTES = 40;
const IS_CONTINUED = 1;
const HAS_LONG_HEADER = 2;
const RECORD_HEADER_BYTES = 24;
/** As much of a record as is looked at: its header, and the time that its data begin with. */
const LOOKED_AT_BYTES = 64;
const ALIGNMENT = 8;

const LOG_RECORDS = 0;
const SWITCH = 0x40;
const TRANSACTION_RECORDS = 1;
const TRANSACTION_OPERATIONS = 0x70;
const [COMMIT, ABORT, COMMIT_PREPARED, ABORT_PREPARED] = [0x00, 0x20, 0x30, 0x40];
/** What may be before the data of a record that ends a transaction, and how long it is. */
const BEFORE_DATA: Readonly<Record<number, number>> = { 253: 3, 252: 5 };
const [SHORT_DATA, LONG_DATA] = [255, 254];
const POSTGRES_EPOCH_MS = Date.UTC(2000, 0, 1);

export function recordReader(begin: number, options: ReaderOptions): RecordReader {
  const page = Buffer.allocUnsafe(PAGE_BYTES);
  const inPage = begin % PAGE_BYTES;
  const walk = walker(page, begin - inPage, inPage, options);
  let filled = inPage;
  return {
    push(piece) {
      for (let at = 0; at < piece.length; ) {
        const bytes = Math.min(PAGE_BYTES - filled, piece.length - at);
        page.set(piece.subarray(at, at + bytes), filled);
        filled += bytes;
        at += bytes;
        if (filled < PAGE_BYTES) break;
        walk.look(PAGE_BYTES);
        filled = 0;
      }
      return walk.found();
    },
    end() {
      if (filled > 0) walk.look(filled);
      return walk.found();
    },
  };
}

interface Unfinished {
  readonly at: number;
  readonly total: number;
  readonly head: Buffer;
  got: number;
}
interface Walker {
  /** At the next page, of which so much is there. */
  look(length: number): void;
  found(): readonly LogRecord[];
}

function walker(page: Buffer, firstPage: number, inFirst: number, { segmentBytes, isRecord }: ReaderOptions): Walker {
  let pageAt = firstPage;
  let unfinished: Unfinished | null = null;
  let records: LogRecord[] = [];
  let skipTo = 0; // the rest of a segment that was switched is empty

  /** Up to where it goes on in this page; the next record begins there. */
  function take(record: Unfinished, from: number, to: number): number {
    const bytes = Math.min(to - from, record.total - record.got);
    if (record.got < LOOKED_AT_BYTES) page.copy(record.head, record.got, from, from + bytes);
    record.got += bytes;
    unfinished = record;
    if (record.got < record.total) return to;
    unfinished = null;
    const end = aligned(pageAt + from + bytes);
    records.push(recordOf(record, end));
    if (isSwitch(record)) skipTo = Math.ceil(end / segmentBytes) * segmentBytes;
    return aligned(from + bytes);
  }
  /** Where the first record begins in it; null where that can't be told. */
  function opened(length: number): number | null {
    if (pageAt < skipTo || length < LONG_HEADER_BYTES) return null;
    const header = headerIn(page, pageAt);
    if (!header) return null;
    const { bytes, continued } = header;
    const before = unfinished;
    unfinished = null; // the server was killed while it wrote it, where it does not go on
    if (continued === 0) return bytes;
    if (before) return take(before, bytes, length);
    return bytes + continued > length ? null : aligned(bytes + continued);
  }
  return {
    look(length) {
      const isFirst = inFirst > 0 && pageAt === firstPage;
      let from = isFirst ? (isRecord ? inFirst : null) : opened(length);
      while (from !== null && from + 4 <= length && !unfinished && pageAt + from >= skipTo) {
        const total = page.readUInt32LE(from);
        if (total < RECORD_HEADER_BYTES) break; // the end of what was written
        from = take({ at: pageAt + from, total, head: Buffer.alloc(LOOKED_AT_BYTES), got: 0 }, from, length);
      }
      pageAt += PAGE_BYTES;
    },
    found() {
      const now = records;
      records = [];
      return now;
    },
  };
}

/** `continued`: so much is left of a record that began before. Null where nothing of this log is. */
function headerIn(page: Buffer, pageAt: number): { readonly bytes: number; readonly continued: number } | null {
  const [magic, info] = [page.readUInt16LE(0), page.readUInt16LE(2)];
  const [told, rest] = [Number(page.readBigUInt64LE(8)), page.readUInt32LE(16)];
  if (magic === 0 || told !== pageAt) return null;
  const bytes = info & HAS_LONG_HEADER ? LONG_HEADER_BYTES : SHORT_HEADER_BYTES;
  return { bytes, continued: info & IS_CONTINUED ? rest : 0 };
}

function aligned(at: number): number {
  return Math.ceil(at / ALIGNMENT) * ALIGNMENT;
}

function isSwitch({ head }: Unfinished): boolean {
  return head[17] === LOG_RECORDS && ((head[16] ?? 0) & 0xf0) === SWITCH;
}

function recordOf({ at, head, total }: Unfinished, end: number): LogRecord {
  const operation = (head[16] ?? 0) & TRANSACTION_OPERATIONS;
  const isOfTransaction = head[17] === TRANSACTION_RECORDS;
  const isCommit = isOfTransaction && (operation === COMMIT || operation === COMMIT_PREPARED);
  const isAbort = isOfTransaction && (operation === ABORT || operation === ABORT_PREPARED);
  const endedAt = isCommit || isAbort ? timeIn(head, Math.min(total, LOOKED_AT_BYTES)) : null;
  return { at, end, before: Number(head.readBigUInt64LE(8)), endedAt, isCommit };
}

function timeIn(head: Buffer, length: number): string | null {
  let at = RECORD_HEADER_BYTES;
  for (let skip = BEFORE_DATA[head[at] ?? 0]; skip !== undefined; skip = BEFORE_DATA[head[at] ?? 0]) at += skip;
  const data = head[at] === SHORT_DATA ? at + 2 : head[at] === LONG_DATA ? at + 5 : length;
  return data + 8 > length ? null : timeText(head.readBigInt64LE(data));
}

/** Of microseconds since 2000. */
function timeText(microseconds: bigint): string {
  const whole = microseconds + BigInt(POSTGRES_EPOCH_MS) * 1000n;
  const micros = ((whole % 1000n) + 1000n) % 1000n;
  const ms = new Date(Number((whole - micros) / 1000n)).toISOString();
  return `${ms.slice(0, -1)}${String(micros).padStart(3, '0')}Z`;
}

// Turns an RDB into commands that build the same data: RESTORE where the target reads this version's values, else the
// commands of each type.

import { type Argument, encodeCommand } from '../resp.ts';
import { type Input, PIECE_BYTES, type Region, tapInput } from './input.ts';
import { type KeySelection, selector } from './select.ts';
import type { Format, GroupHead, KeyHead, StreamId, Visitor } from './visitor.ts';
import { dumpOf } from './walk.ts';

export interface CommandOptions {
  readonly way: 'restore' | 'logical';
  readonly select: KeySelection;
  /** What has the name of a chosen key goes first. */
  readonly replace: boolean;
  /** The target knows HPEXPIREAT. */
  readonly fieldExpiry: boolean;
  /** All is restored: also functions and modules' own data, which belong to no database and no pattern. */
  readonly whole: boolean;
  /** By the target's clock. Keys whose time has come would only delete what has their name. */
  readonly now: number;
  /** Every expiry is later by so much, and no key's time has come: for a log that goes on, which must find them. */
  readonly laterMs: number;
}
export interface CommandWriter {
  readonly visitor: Visitor;
  flush(): void;
  readonly left: {
    /** Values that only the module itself can write, by module. */
    readonly modules: Map<string, number>;
    /** Modules whose own data outside of keys was met: no command writes it. */
    readonly ownData: Set<string>;
    /** Fields of hashes that stay for ever now. */
    fieldExpiries: number;
    /** Keys whose time has come. */
    expired: number;
  };
  /** Keys that were written. */
  keys(): number;
}

const OUTPUT_BYTES = 256 * 1024;
const BATCH_ARGUMENTS = 512;

/** `input` is the one that the visitor is walked over; `emit` gets whole commands, or pieces of one with 0 commands. */
export function commandWriter(
  input: Input,
  options: CommandOptions,
  emit: (bytes: Uint8Array, commands: number) => void,
): CommandWriter {
  const chosen = selector(options.select);
  const out = outputTo(emit);
  const left = { modules: new Map<string, number>(), ownData: new Set<string>(), fieldExpiries: 0, expired: 0 };
  const raw: Buffer[] = [];
  const logical = logicalVisitor(out, options, left);
  let format: Format = { family: 'redis', version: 0 };
  let database = -1;
  let keys = 0;

  // What is live stays until all of the new value is there, and a value that is refused leaves it as it was.
  const inTransaction = options.replace && options.way === 'logical';

  function select(head: KeyHead): void {
    if (head.database !== database) out.command('SELECT', head.database);
    database = head.database;
    keys += 1;
    if (!inTransaction) return;
    out.command('MULTI');
    out.command('DEL', head.name);
  }
  function restore(head: KeyHead): void {
    tapInput(input, null);
    const payload = dumpOf(head.encoding, raw.splice(0), format.version);
    const used = head.idleSeconds >= 0 ? ['IDLETIME', head.idleSeconds] : [];
    if (head.frequency >= 0) used.push('FREQ', head.frequency);
    if (options.replace) used.push('REPLACE');
    out.command('RESTORE', head.name, Math.max(0, expiryOf(head, options)), payload, 'ABSTTL', ...used);
  }
  let wanted = false;
  return {
    left,
    keys: () => keys,
    flush: out.flush,
    visitor: {
      ...logical.visitor,
      format(read) {
        format = read;
      },
      library(code) {
        if (options.whole) out.command('FUNCTION', 'LOAD', 'REPLACE', code);
      },
      moduleData(module) {
        if (options.whole) left.ownData.add(module);
      },
      key(head) {
        wanted = chosen(head.database, head.name);
        if (!wanted) return false;
        const expiresAt = expiryOf(head, options);
        if (expiresAt >= 0 && expiresAt <= options.now) {
          left.expired += 1;
          wanted = false;
          return false;
        }
        // Only the module itself could write it: what is live stays, and the walk tells the module's name.
        if (head.type === 'module' && options.way === 'logical') {
          wanted = false;
          logical.begin(head);
          return true;
        }
        select(head);
        if (options.way === 'restore') {
          tapInput(input, (bytes) => void raw.push(Buffer.from(bytes)));
          return false;
        }
        logical.begin(head);
        return true;
      },
      end(head) {
        if (!wanted) return;
        if (options.way === 'restore') restore(head);
        else {
          logical.end(head);
          if (inTransaction) out.command('EXEC');
        }
      },
    },
  };
}

interface Output {
  command(...parts: readonly Argument[]): void;
  /** The begin of a command whose last argument follows as bytes. */
  open(parts: readonly Argument[], lastBytes: number): void;
  bytes(bytes: Uint8Array, from: number, to: number): void;
  close(): void;
  flush(): void;
}

function outputTo(emit: (bytes: Uint8Array, commands: number) => void): Output {
  let buffer = Buffer.allocUnsafeSlow(OUTPUT_BYTES);
  let used = 0;
  let commands = 0;

  function flush(): void {
    if (used === 0) return;
    emit(buffer.subarray(0, used), commands);
    buffer = Buffer.allocUnsafeSlow(OUTPUT_BYTES);
    used = 0;
    commands = 0;
  }
  function bytes(source: Uint8Array, from: number, to: number): void {
    for (let at = from; at < to; ) {
      const step = Math.min(to - at, OUTPUT_BYTES - used);
      buffer.set(source.subarray(at, at + step), used);
      used += step;
      at += step;
      if (used === OUTPUT_BYTES) flush();
    }
  }
  function add(text: Buffer): void {
    bytes(text, 0, text.length);
  }
  return {
    flush,
    bytes,
    command(...parts) {
      const encoded = encodeCommand(parts);
      commands += 1;
      add(encoded);
    },
    open(parts, lastBytes) {
      commands += 1;
      add(Buffer.from(`*${parts.length + 1}\r\n`));
      add(encodeCommand(parts).subarray(`*${parts.length}\r\n`.length));
      add(Buffer.from(`$${lastBytes}\r\n`));
    },
    close: () => add(Buffer.from('\r\n')),
  };
}

const VERBS: Readonly<Record<string, string>> = { list: 'RPUSH', set: 'SADD', zset: 'ZADD', hash: 'HSET' };

interface Logical {
  readonly visitor: Omit<Visitor, 'key' | 'end'>;
  begin(head: KeyHead): void;
  end(head: KeyHead): void;
}

function expiryOf({ expiresAt }: KeyHead, { laterMs }: CommandOptions): number {
  return expiresAt < 0 ? expiresAt : expiresAt + laterMs;
}

function logicalVisitor(out: Output, options: CommandOptions, left: CommandWriter['left']): Logical {
  let name: Buffer = Buffer.alloc(0);
  let verb = '';
  let type = '';
  let batch: Argument[] = [];
  let batchBytes = 0;
  let expiries: [ms: number, field: Argument][] = [];
  const stream = streamCommands(out, () => name);

  function flushBatch(): void {
    if (batch.length > 0) out.command(verb, name, ...batch);
    for (const [ms, field] of expiries) out.command('HPEXPIREAT', name, ms, 'FIELDS', 1, field);
    batch = [];
    batchBytes = 0;
    expiries = [];
  }
  function add(bytes: Uint8Array): void {
    batch.push(bytes);
    batchBytes += bytes.length;
  }
  function flushFull(): void {
    if (batchBytes > PIECE_BYTES || batch.length >= BATCH_ARGUMENTS) flushBatch();
  }
  /** One that needs no other argument after it goes out as it is read. */
  function large(region: Region, from: number, to: number): boolean {
    const before = type === 'hash' && batch.length % 2 === 1 ? batch.splice(-1) : [];
    if (to - from <= PIECE_BYTES || (type === 'hash' && before.length === 0)) {
      batch.push(...before);
      return false;
    }
    flushBatch();
    out.open([verb, name, ...before], to - from);
    out.bytes(region.bytes, from, to);
    out.close();
    lastField = before[0] ?? '';
    return true;
  }
  let lastField: Argument = '';
  return {
    begin(head) {
      ({ name, type } = head);
      verb = VERBS[type] ?? '';
    },
    end(head) {
      flushBatch();
      stream.end();
      if (head.expiresAt >= 0) out.command('PEXPIREAT', name, expiryOf(head, options));
    },
    visitor: {
      text(region, from, to, offset, total) {
        if (offset === 0) out.open(['SET', name], total);
        out.bytes(region.bytes, from, to);
        if (offset + to - from === total) out.close();
      },
      item(region, from, to) {
        if (type === 'stream') stream.item(Buffer.from(region.bytes.subarray(from, to)));
        else if (
          type !== 'module' &&
          !((type === 'list' || type === 'set' || type === 'hash') && large(region, from, to))
        ) {
          add(Buffer.from(region.bytes.subarray(from, to)));
          if (type === 'list' || type === 'set') flushFull();
        }
      },
      score(score) {
        const member = batch.pop() ?? '';
        batch.push(scoreText(score), member);
        flushFull();
      },
      fieldExpires(ms) {
        const field = batch.length > 1 ? batch[batch.length - 2] : lastField;
        if (ms >= 0 && options.fieldExpiry) expiries.push([ms, field ?? '']);
        else if (ms >= 0) left.fieldExpiries += 1;
        flushFull();
      },
      module: (module) => void left.modules.set(module, (left.modules.get(module) ?? 0) + 1),
      ...stream.visitor,
    },
  };
}

type StreamPart = 'entry' | 'streamState' | 'group' | 'pending' | 'consumer' | 'consumerPending';

function streamCommands(
  out: Output,
  name: () => Buffer,
): { visitor: Pick<Visitor, StreamPart>; item(item: Buffer): void; end(): void } {
  let entry: Argument[] = [];
  let group: GroupHead | null = null;
  let consumer: Buffer = Buffer.alloc(0);
  const pending = new Map<string, { deliveredAt: number; deliveries: number }>();

  function flushEntry(): void {
    if (entry.length > 0) out.command('XADD', name(), ...entry);
    entry = [];
  }
  return {
    item: (item) => void entry.push(item),
    end: () => pending.clear(),
    visitor: {
      entry(id) {
        flushEntry();
        entry.push(idText(id));
      },
      streamState({ length, last, counters }) {
        flushEntry();
        // A stream that is empty can only be made from one that was not.
        if (length === 0)
          out.command('XADD', name(), 'MAXLEN', 0, idText(last) === '0-0' ? '0-1' : idText(last), 'x', 'y');
        const added = counters
          ? ['ENTRIESADDED', `${counters.added}`, 'MAXDELETEDID', idText(counters.maxDeleted)]
          : [];
        out.command('XSETID', name(), idText(last), ...added);
      },
      group(head) {
        group = head;
        pending.clear();
        const read = head.read === null ? [] : ['ENTRIESREAD', `${BigInt.asIntN(64, BigInt(head.read))}`];
        out.command('XGROUP', 'CREATE', name(), head.name, idText(head.last), ...read);
      },
      pending: (id, deliveredAt, deliveries) => void pending.set(idText(id), { deliveredAt, deliveries }),
      consumer(head) {
        consumer = head;
        if (group) out.command('XGROUP', 'CREATECONSUMER', name(), group.name, consumer);
      },
      consumerPending(id) {
        const of = pending.get(idText(id));
        if (!group || !of) return;
        const state = ['TIME', of.deliveredAt, 'RETRYCOUNT', of.deliveries, 'FORCE', 'JUSTID'];
        out.command('XCLAIM', name(), group.name, consumer, 0, idText(id), ...state);
      },
    },
  };
}

function idText({ ms, seq }: StreamId): string {
  return `${ms}-${seq}`;
}

function scoreText(score: number): string {
  if (score === Number.POSITIVE_INFINITY) return 'inf';
  return score === Number.NEGATIVE_INFINITY ? '-inf' : String(score);
}

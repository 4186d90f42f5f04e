// Streams of an RDB: nodes of entries packed against a first one, then counters, groups and what is pending in them.

import { ensure, type Input, malformed, readLength, readMs, readWide, skip } from './input.ts';
import { listpackIn, type Pack, packHasMore, packItem, packNext, packNumber } from './listpack.ts';
import { readElement, skipString } from './strings.ts';
import type { StreamId, Visitor } from './visitor.ts';

const DELETED = 1;
const SAME_FIELDS = 2;
const ID_BYTES = 16;

/** `version` counts what was added to the format: 2 the counters, 3 when a consumer was last active. */
export function walkStream(input: Input, visitor: Visitor, version: 1 | 2 | 3): void {
  for (let nodes = readLength(input); nodes > 0; nodes--) {
    readElement(input);
    if (input.to - input.from !== ID_BYTES) throw malformed('a stream has an impossible id');
    const first = idAt(input.item.view, input.from);
    readElement(input);
    walkNode(input, visitor, listpackIn(input.item, input.from, input.to), first);
  }
  const length = readLength(input);
  const last = readId(input);
  if (version > 1) readId(input); // the first entry's, which the entries tell
  const counters = version === 1 ? null : { maxDeleted: readId(input), added: readWide(input) };
  visitor.streamState({ length, last, counters });
  for (let groups = readLength(input); groups > 0; groups--) walkGroup(input, visitor, version);
}

export function skipStream(input: Input, version: 1 | 2 | 3): void {
  for (let strings = 2 * readLength(input); strings > 0; strings--) skipString(input);
  const counters = version === 1 ? 3 : 8;
  for (let left = counters; left > 0; left--) readWide(input);
  for (let groups = readLength(input); groups > 0; groups--) {
    skipString(input);
    for (let left = version === 1 ? 2 : 3; left > 0; left--) readWide(input);
    for (let pending = readLength(input); pending > 0; pending--) {
      skip(input, ID_BYTES + 8);
      readLength(input);
    }
    for (let consumers = readLength(input); consumers > 0; consumers--) {
      skipString(input);
      skip(input, version === 3 ? 16 : 8);
      skip(input, ID_BYTES * readLength(input));
    }
  }
}

function walkGroup(input: Input, visitor: Visitor, version: 1 | 2 | 3): void {
  readElement(input);
  const name = Buffer.from(input.item.bytes.subarray(input.from, input.to));
  const last = readId(input);
  visitor.group({ name, last, read: version === 1 ? null : readWide(input) });
  for (let pending = readLength(input); pending > 0; pending--) {
    const id = readRawId(input);
    const deliveredAt = readMs(input);
    visitor.pending(id, deliveredAt, readLength(input));
  }
  for (let consumers = readLength(input); consumers > 0; consumers--) {
    readElement(input);
    visitor.consumer(Buffer.from(input.item.bytes.subarray(input.from, input.to)));
    readMs(input); // when it was last seen: of the connection, not of the data
    if (version === 3) readMs(input);
    for (let pending = readLength(input); pending > 0; pending--) visitor.consumerPending(readRawId(input));
  }
}

/** A node begins with an entry that only lends its id and its field names to the others. */
function walkNode(input: Input, visitor: Visitor, pack: Pack, first: StreamId): void {
  packNumber(pack); // entries
  packNumber(pack); // deleted ones among them
  const fields = count(pack);
  const namesAt = pack.at;
  for (let left = fields; left > 0; left--) packNext(pack);
  packNumber(pack);
  while (packHasMore(pack)) {
    const flags = count(pack);
    const id = { ms: sum(first.ms, packNumber(pack)), seq: sum(first.seq, packNumber(pack)) };
    const same = (flags & SAME_FIELDS) !== 0;
    const own = same ? fields : count(pack);
    if ((flags & DELETED) !== 0) for (let left = same ? own : 2 * own; left > 0; left--) packNext(pack);
    else {
      visitor.entry(id, own);
      walkFields(input, visitor, pack, { fields: own, names: same ? { ...pack, at: namesAt } : pack });
    }
    packNumber(pack); // how far back the entry began
  }
}

function walkFields(input: Input, visitor: Visitor, pack: Pack, { fields, names }: { fields: number; names: Pack }) {
  for (let left = fields; left > 0; left--) {
    packItem(input, names);
    visitor.item(input.item, input.from, input.to);
    packItem(input, pack);
    visitor.item(input.item, input.from, input.to);
  }
}

function count(pack: Pack): number {
  const value = packNumber(pack);
  if (typeof value === 'number' && value >= 0) return value;
  throw malformed('a stream has an impossible length');
}

function sum(a: number | bigint, b: number | bigint): number | bigint {
  if (typeof a === 'number' && typeof b === 'number' && a + b >= 0 && Number.isSafeInteger(a + b)) return a + b;
  return narrow(BigInt.asUintN(64, BigInt(a) + BigInt(b)));
}

function readId(input: Input): StreamId {
  const ms = readWide(input);
  return { ms, seq: readWide(input) };
}

function readRawId(input: Input): StreamId {
  ensure(input, ID_BYTES);
  input.pos += ID_BYTES;
  return idAt(input.window.view, input.pos - ID_BYTES);
}

function idAt(view: DataView, at: number): StreamId {
  return { ms: narrow(view.getBigUint64(at)), seq: narrow(view.getBigUint64(at + 8)) };
}

function narrow(wide: bigint): number | bigint {
  return wide <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(wide) : wide;
}

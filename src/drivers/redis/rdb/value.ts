// One value of an RDB, in any of the encodings that servers have written it in.

import { ensure, type Input, malformed, readByte, readDouble, readLength, readMs, skip } from './input.ts';
import {
  integersIn,
  listpackIn,
  type Pack,
  packHasMore,
  packItem,
  packNumber,
  packScore,
  scoreIn,
  ziplistIn,
} from './listpack.ts';
import { skipModule, walkModule } from './module.ts';
import { skipStream, walkStream } from './stream.ts';
import { itemFromNumber, readElement, readText, skipString } from './strings.ts';
import { type Format, type KeyHead, unknown, type Visitor } from './visitor.ts';

/** The type bytes. 22 means one thing to Valkey and another to release candidates of Redis 7.4. */
const TYPE = {
  string: 0,
  list: 1,
  set: 2,
  zsetText: 3,
  hash: 4,
  zset: 5,
  module: 7,
  listZiplist: 10,
  intset: 11,
  zsetZiplist: 12,
  hashZiplist: 13,
  listZiplists: 14,
  stream1: 15,
  hashListpack: 16,
  zsetListpack: 17,
  listNodes: 18,
  stream2: 19,
  setListpack: 20,
  stream3: 21,
  hashExpiring: 22,
  hashListpackExpiringOld: 23,
  hashFieldsExpiring: 24,
  hashListpackExpiring: 25,
} as const;

/** Tells the visitor the value that follows; the key has been told. */
export function walkValue(input: Input, format: Format, { encoding }: KeyHead, visitor: Visitor): void {
  if (encoding === TYPE.string) readText(input, visitor.text);
  else if (encoding === TYPE.list || encoding === TYPE.set) walkItems(input, visitor, readLength(input));
  else if (encoding === TYPE.hash) walkHash(input, visitor, readLength(input), null);
  else if (encoding === TYPE.zset || encoding === TYPE.zsetText) walkScores(input, visitor, encoding);
  else if (encoding === TYPE.listNodes) walkNodes(input, visitor);
  else if (encoding === TYPE.listZiplists) walkZiplists(input, visitor);
  else if (encoding === TYPE.module) walkModule(input, visitor);
  else if (encoding === TYPE.stream1) walkStream(input, visitor, 1);
  else if (encoding === TYPE.stream2) walkStream(input, visitor, 2);
  else if (encoding === TYPE.stream3) walkStream(input, visitor, 3);
  else if (isExpiringHash(encoding)) walkExpiringHash(input, visitor, format, encoding);
  else {
    if (encoding === TYPE.hashListpackExpiring) readMs(input); // the earliest, for servers that keep hashes on disk
    walkPacked(input, visitor, encoding);
  }
}

/** Reads past a value. */
export function skipValue(input: Input, format: Format, encoding: number): void {
  if (encoding === TYPE.list || encoding === TYPE.set) skipStrings(input, readLength(input));
  else if (encoding === TYPE.hash) skipStrings(input, 2 * readLength(input));
  else if (encoding === TYPE.listZiplists) skipStrings(input, readLength(input));
  else if (encoding === TYPE.stream1) skipStream(input, 1);
  else if (encoding === TYPE.stream2) skipStream(input, 2);
  else if (encoding === TYPE.stream3) skipStream(input, 3);
  else if (encoding === TYPE.zset || encoding === TYPE.zsetText) skipScores(input, encoding);
  else if (encoding === TYPE.listNodes) skipNodes(input);
  else if (encoding === TYPE.module) skipModule(input);
  else if (isExpiringHash(encoding)) walkExpiringHash(input, null, format, encoding);
  else {
    if (encoding === TYPE.hashListpackExpiring) skip(input, 8);
    skipString(input);
  }
}

function isExpiringHash(encoding: number): boolean {
  return encoding === TYPE.hashExpiring || encoding === TYPE.hashFieldsExpiring;
}

function skipScores(input: Input, encoding: number): void {
  for (let left = readLength(input); left > 0; left--) {
    skipString(input);
    if (encoding === TYPE.zset) skip(input, 8);
    else readTextScore(input);
  }
}

function skipNodes(input: Input): void {
  for (let left = readLength(input); left > 0; left--) {
    readLength(input);
    skipString(input);
  }
}

function skipStrings(input: Input, count: number): void {
  for (let left = count; left > 0; left--) skipString(input);
}

function walkItems(input: Input, visitor: Visitor, count: number): void {
  for (let left = count; left > 0; left--) {
    readElement(input);
    visitor.item(input.item, input.from, input.to);
  }
}

function walkHash(input: Input, visitor: Visitor, count: number, expires: (() => number) | null): void {
  for (let left = count; left > 0; left--) {
    walkItems(input, visitor, 2);
    visitor.fieldExpires(expires === null ? -1 : expires());
  }
}

/** Redis: the earliest expiry, then each field's after that, before the field. Valkey: absolute, after the value. */
function walkExpiringHash(input: Input, visitor: Visitor | null, format: Format, encoding: number): void {
  if (format.family === 'valkey') walkValkeyHash(input, visitor, readLength(input));
  else if (encoding === TYPE.hashExpiring) throw unknown('a hash of a release candidate of Redis 7.4');
  else walkRedisHash(input, visitor, readMs(input));
}

function walkValkeyHash(input: Input, visitor: Visitor | null, count: number): void {
  if (visitor) walkHash(input, visitor, count, () => readMs(input));
  else {
    for (let left = count; left > 0; left--) {
      skipStrings(input, 2);
      skip(input, 8);
    }
  }
}

function walkRedisHash(input: Input, visitor: Visitor | null, earliest: number): void {
  for (let left = readLength(input); left > 0; left--) {
    const after = readLength(input);
    if (!visitor) {
      skipStrings(input, 2);
      continue;
    }
    walkItems(input, visitor, 2);
    visitor.fieldExpires(after === 0 ? -1 : earliest + after - 1);
  }
}

function walkScores(input: Input, visitor: Visitor, encoding: number): void {
  for (let left = readLength(input); left > 0; left--) {
    walkItems(input, visitor, 1);
    visitor.score(encoding === TYPE.zset ? readDouble(input) : readTextScore(input));
  }
}

/** A score as text after its length; three lengths stand for what has no digits. */
function readTextScore(input: Input): number {
  const length = readByte(input);
  if (length === 254) return Number.POSITIVE_INFINITY;
  if (length === 255) return Number.NEGATIVE_INFINITY;
  if (length === 253) throw malformed('a score is no number');
  ensure(input, length);
  input.pos += length;
  return scoreIn(input.window.bytes, input.pos - length, input.pos);
}

/** A list: nodes of one large element each, or packed. */
function walkNodes(input: Input, visitor: Visitor): void {
  for (let left = readLength(input); left > 0; left--) {
    const container = readLength(input);
    readElement(input);
    if (container === 1) visitor.item(input.item, input.from, input.to);
    else walkPack(input, visitor, listpackIn(input.item, input.from, input.to));
  }
}

function walkZiplists(input: Input, visitor: Visitor): void {
  for (let left = readLength(input); left > 0; left--) {
    readElement(input);
    walkPack(input, visitor, ziplistIn(input.item, input.from, input.to));
  }
}

function walkPacked(input: Input, visitor: Visitor, encoding: number): void {
  readElement(input);
  const { item, from, to } = input;
  if (encoding === TYPE.intset) {
    for (const integer of integersIn(item, from, to)) {
      itemFromNumber(input, integer);
      visitor.item(input.item, input.from, input.to);
    }
  } else if (encoding === TYPE.setListpack) walkPack(input, visitor, listpackIn(item, from, to));
  else if (encoding === TYPE.listZiplist) walkPack(input, visitor, ziplistIn(item, from, to));
  else if (encoding === TYPE.zsetListpack) walkPackedScores(input, visitor, listpackIn(item, from, to));
  else if (encoding === TYPE.zsetZiplist) walkPackedScores(input, visitor, ziplistIn(item, from, to));
  else if (encoding === TYPE.hashListpack) walkPackedHash(input, visitor, listpackIn(item, from, to), false);
  else if (encoding === TYPE.hashZiplist) walkPackedHash(input, visitor, ziplistIn(item, from, to), false);
  else if (encoding === TYPE.hashListpackExpiring || encoding === TYPE.hashListpackExpiringOld) {
    walkPackedHash(input, visitor, listpackIn(item, from, to), true);
  } else throw unknown(`type ${encoding}`);
}

function walkPack(input: Input, visitor: Visitor, pack: Pack): void {
  while (packHasMore(pack)) {
    packItem(input, pack);
    visitor.item(input.item, input.from, input.to);
  }
}

function walkPackedScores(input: Input, visitor: Visitor, pack: Pack): void {
  while (packHasMore(pack)) {
    packItem(input, pack);
    visitor.item(input.item, input.from, input.to);
    visitor.score(packScore(pack));
  }
}

function walkPackedHash(input: Input, visitor: Visitor, pack: Pack, expiring: boolean): void {
  while (packHasMore(pack)) {
    for (let turn = 0; turn < 2; turn++) {
      packItem(input, pack);
      visitor.item(input.item, input.from, input.to);
    }
    const expires = expiring ? Number(packNumber(pack)) : 0;
    visitor.fieldExpires(expires === 0 ? -1 : expires);
  }
}

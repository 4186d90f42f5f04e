// Counts and digests what an RDB holds: keys by database and type, so that other encodings, another order and another
// server's version compare equal.

import type { InventoryLevel, InventoryLine, Json } from '../../../core/model.ts';
import { addLanes, hashBytes, hexOf, type Lanes, lanes } from '../../../core/murmur.ts';
import { digestingVisitor } from './digest.ts';
import { viewed } from './input.ts';
import type { Format, KeyHead, Visitor } from './visitor.ts';

export interface Tally {
  readonly visitor: Visitor;
  /** In no order. */
  lines(): InventoryLine[];
  totals(): { databases: number; keys: number; expiring: number; functions: number };
}

interface Slot {
  readonly name: string;
  count: number;
  /** Null when a key was not digested. */
  sum: Lanes | null;
}
/** The slots of one type in one database: what stays under -1, what passes away under the end of its hour. */
interface Group {
  readonly name: string;
  readonly slots: Map<number, Slot>;
  /** The same for hashes whose fields pass away. */
  readonly withFields: Map<number, Slot>;
}

const HOUR_MS = 3_600_000;
/** `databases`: the ones that count; null for all. */
export function newTally(level: InventoryLevel, databases: readonly number[] | null): Tally {
  const digested = level === 'full';
  const groups = new Map<string, Map<number, Group>>();
  const libraries: InventoryLine[] = [];
  const ownData = new Set<string>();
  const facts = { databases: 0, largestBytes: 0, usedBytes: 0, modules: new Set<string>() };
  let format: Format = { family: 'redis', version: 0 };
  const digest = digestingVisitor();
  let expiring = 0;

  function end(head: KeyHead): void {
    const { value } = digest;
    facts.databases = Math.max(facts.databases, head.database + 1);
    facts.largestBytes = Math.max(facts.largestBytes, head.bytes);
    if (value.module !== '') facts.modules.add(value.module);
    if (databases && !databases.includes(head.database)) return;
    if (head.expiresAt >= 0) expiring += 1;
    const slot = slotOf(groupOf(groups, head, value.module), head.expiresAt, value.fieldExpiresAt);
    slot.count += 1;
    if (!digested || value.incomplete) slot.sum = null;
    else if (slot.sum) addLanes(slot.sum, digest.finish(head));
  }

  return {
    visitor: {
      ...digest.visitor,
      format(read) {
        format = read;
      },
      aux(name, value) {
        if (name === 'used-mem') facts.usedBytes = Number(value);
      },
      library: (code) => void libraries.push(libraryLine(code, digested)),
      moduleData(module) {
        facts.modules.add(module);
        ownData.add(module);
      },
      key(head) {
        digest.begin(head, digested);
        if (databases && !databases.includes(head.database)) return false;
        return digested || head.type === 'module' || mayHaveExpiringFields(head);
      },
      end,
    },
    lines() {
      const detail: Json = {
        family: format.family,
        version: format.version,
        used_bytes: facts.usedBytes,
        databases: facts.databases,
        largest_bytes: facts.largestBytes,
        modules: [...facts.modules].sort(),
      };
      const keys = slotsIn(groups).map(({ name, count, sum }) => {
        return { kind: 'keys', name, count, digest: digested && sum ? hexOf(sum) : null };
      });
      const rdb = { kind: 'facts', name: 'capture', count: null, digest: null, detail };
      const modules = [...ownData].map((name) => ({ kind: 'modules', name, count: null, digest: null }));
      return [rdb, ...libraries, ...modules, ...keys];
    },
    totals() {
      const slots = slotsIn(groups);
      const databases = new Set(slots.map(({ name }) => name.split('/', 1)[0])).size;
      const keys = slots.reduce((sum, { count }) => sum + count, 0);
      return { databases, keys, expiring, functions: libraries.length };
    },
  };
}

function groupOf(groups: Map<string, Map<number, Group>>, { type, database }: KeyHead, module: string): Group {
  const typed = module === '' ? type : `module ${module}`;
  const byDatabase = known(groups, typed, () => new Map<number, Group>());
  return known(byDatabase, database, () => {
    return { name: `db${database}/${typed}`, slots: new Map(), withFields: new Map() };
  });
}

/** What passes away is apart from what stays, by the hour: on a live server it is gone by then. */
function slotOf({ name, slots, withFields }: Group, expiresAt: number, fieldExpiresAt: number): Slot {
  if (fieldExpiresAt !== Number.POSITIVE_INFINITY) {
    const hour = endOfHour(expiresAt < 0 ? fieldExpiresAt : Math.min(expiresAt, fieldExpiresAt));
    return known(withFields, hour, () => newSlot(`${name} with fields until ${timeText(hour)}`));
  }
  if (expiresAt < 0) return known(slots, -1, () => newSlot(name));
  const hour = endOfHour(expiresAt);
  return known(slots, hour, () => newSlot(`${name} until ${timeText(hour)}`));
}

function slotsIn(groups: Map<string, Map<number, Group>>): Slot[] {
  const all = [...groups.values()].flatMap((group) => [...group.values()]);
  return all.flatMap(({ slots, withFields }) => [...slots.values(), ...withFields.values()]);
}

function newSlot(name: string): Slot {
  return { name, count: 0, sum: lanes() };
}

function endOfHour(ms: number): number {
  return (Math.floor(ms / HOUR_MS) + 1) * HOUR_MS;
}

/** A server takes expiries that no calendar has. */
function timeText(ms: number): string {
  const at = new Date(ms);
  return Number.isNaN(at.getTime()) ? `${ms} ms` : at.toISOString();
}

function known<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const found = map.get(key);
  if (found !== undefined) return found;
  const made = make();
  map.set(key, made);
  return made;
}

function mayHaveExpiringFields({ type, encoding }: KeyHead): boolean {
  return type === 'hash' && encoding >= 22;
}

function libraryLine(code: Buffer, digested: boolean): InventoryLine {
  const [, name] = /^#![^\n]*\bname=(\S+)/.exec(code.toString('latin1')) ?? [];
  const hash = lanes();
  hashBytes(hash, viewed(code).view, 0, code.length);
  return { kind: 'functions', name: name ?? 'unnamed', count: code.length, digest: digested ? hexOf(hash) : null };
}

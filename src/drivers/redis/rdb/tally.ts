// Counts and digests what an RDB holds: keys by database and type, so that other encodings, another order and another
// server's version compare equal.

import type { InventoryLevel, InventoryLine, Json } from '../../../core/model.ts';
import { digestingVisitor } from './digest.ts';
import { addLanes, hashBytes, hexOf, type Lanes, lanes } from './hash.ts';
import { viewed } from './input.ts';
import type { Format, KeyHead, Visitor } from './visitor.ts';

export interface Tally {
  readonly visitor: Visitor;
  /** In no order. */
  lines(): InventoryLine[];
  totals(): { databases: number; keys: number; expiring: number; functions: number };
}

interface Slot {
  count: number;
  /** Null when a key was not digested. */
  sum: Lanes | null;
}

const HOUR_MS = 3_600_000;
/** `databases`: the ones that count; null for all. */
export function newTally(level: InventoryLevel, databases: readonly number[] | null): Tally {
  const digested = level === 'full';
  const slots = new Map<string, Slot>();
  const libraries: InventoryLine[] = [];
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
    const slot = slotOf(slots, slotName(head, value.module, value.fieldExpiresAt));
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
      moduleData: (module) => void facts.modules.add(module),
      key(head) {
        digest.begin(head);
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
      const keys = [...slots].map(([name, { count, sum }]) => {
        return { kind: 'keys', name, count, digest: digested && sum ? hexOf(sum) : null };
      });
      const rdb = { kind: 'facts', name: 'capture', count: null, digest: null, detail };
      return [rdb, ...libraries, ...keys];
    },
    totals() {
      const names = [...slots.keys()].map((name) => name.split('/', 1)[0]);
      const keys = [...slots.values()].reduce((sum, { count }) => sum + count, 0);
      return { databases: new Set(names).size, keys, expiring, functions: libraries.length };
    },
  };
}

/** 'db0/string', and what passes away apart from what stays, by the hour: on a live server it is gone by then. */
function slotName(head: KeyHead, module: string, fieldExpiresAt: number): string {
  const type = module === '' ? head.type : `module ${module}`;
  const first = head.expiresAt < 0 ? fieldExpiresAt : Math.min(head.expiresAt, fieldExpiresAt);
  if (first === Number.POSITIVE_INFINITY) return `db${head.database}/${type}`;
  const fields = fieldExpiresAt === Number.POSITIVE_INFINITY ? '' : ' with fields';
  return `db${head.database}/${type}${fields} until ${hourOf(first)}`;
}

function hourOf(ms: number): string {
  const hour = Math.floor(ms / HOUR_MS) + 1;
  const known = hours.get(hour);
  if (known !== undefined) return known;
  const at = new Date(hour * HOUR_MS);
  const text = Number.isNaN(at.getTime()) ? `hour ${hour}` : at.toISOString();
  if (hours.size < 100_000) hours.set(hour, text);
  return text;
}
const hours = new Map<number, string>();

function slotOf(slots: Map<string, Slot>, name: string): Slot {
  const known = slots.get(name);
  if (known) return known;
  const slot = { count: 0, sum: lanes() };
  slots.set(name, slot);
  return slot;
}

function mayHaveExpiringFields({ type, encoding }: KeyHead): boolean {
  return type === 'hash' && encoding >= 22;
}

function libraryLine(code: Buffer, digested: boolean): InventoryLine {
  const [, name] = /^#![^\n]*\bname=(\S+)/.exec(code.toString('latin1')) ?? [];
  const hash = lanes();
  hashBytes(hash, viewed(code), 0, code.length);
  return { kind: 'functions', name: name ?? 'unnamed', count: code.length, digest: digested ? hexOf(hash) : null };
}

// What the engine's tests are made of: a service that is a Map, and a store that is Maps. Both are real, only small:
// they keep the contracts of core/model.ts.

import { createHash } from 'node:crypto';
import { bytesOf, readAll } from '../core/bytes.ts';
import { Failure } from '../core/errors.ts';
import { inventoryFrom, judge, paired, putInventory } from '../core/inventory.ts';
import type {
  Component,
  Context,
  Draft,
  Driver,
  Finding,
  InventoryLine,
  Json,
  Part,
  Receipt,
  RecoveryPoint,
  Row,
  SandboxRunner,
  Sink,
  Source,
  Staged,
  Store,
} from '../core/model.ts';
import type { NamedStore, StackComponent } from './model.ts';

// ---- a service -----------------------------------------------------------------------------------------

export interface KvServer {
  data: Map<string, string>;
  version: string;
  /** Throws where a test wants it to. */
  fault: (step: 'probe' | 'capture' | 'restore' | 'inventory' | 'measure' | 'publish') => void | Promise<void>;
  warnings: string[];
  cutAt: string;
  /** What the last capture read, so that the next one knows what did not change. */
  seen: Map<string, string>;
  /** Parts that were kept unread by the last capture. */
  kept: number;
}

export function kvServer(data: Readonly<Record<string, string>> = {}): KvServer {
  return {
    data: new Map(Object.entries(data)),
    version: '1.0',
    fault: () => undefined,
    warnings: [],
    cutAt: '2026-01-01T00:00:00.000Z',
    seen: new Map(),
    kept: 0,
  };
}

export const kvDriver = {
  kind: 'kv',
  open: (settings) => kvComponent(settings as KvServer),
  async *compare(ctx, expected, actual): AsyncIterable<Finding> {
    for await (const pair of paired(ctx, expected, actual))
      yield judge(pair, (pair.expected ?? pair.actual)?.name ?? '');
  },
  serverSpec: () => Promise.reject(new Error('the tests have a runner of their own')),
} satisfies Driver;

/** A driver whose services restore beside their data, as PostgreSQL does. */
export const stagingDriver = {
  ...kvDriver,
  kind: 'staging-kv',
  open: (settings: unknown) => stagingComponent(settings as KvServer),
} satisfies Driver;

export function kv(name: string, server: KvServer, more: Partial<StackComponent> = {}): StackComponent {
  const driver = more.driver ?? kvDriver;
  return {
    name,
    kind: driver.kind,
    driver,
    component: driver.open(server),
    settings: server,
    restoreAfter: [],
    checks: [],
    ...more,
  };
}

function kvComponent(server: KvServer): Component {
  return {
    async probe() {
      await server.fault('probe');
      const holdsData = server.data.size === 0 ? null : `${server.data.size} keys`;
      return { version: server.version, identity: 'kv', bytes: null, holdsData, clockSkewMs: 0, findings: [] };
    },
    async capture(ctx, sink, previous) {
      await server.fault('capture');
      server.kept = 0;
      for (const [key, value] of server.data) {
        const name = `keys/${key}`;
        const before = previous && (await findPart(ctx, previous, name));
        if (before && server.seen.get(key) === value) {
          await sink.keep(ctx, name, before);
          server.kept += 1;
        } else await sink.put(ctx, name, bytesOf(value));
      }
      server.seen = new Map(server.data);
      await putInventory(ctx, sink, linesOf(server));
      return {
        cut: { position: String(server.data.size), at: server.cutAt },
        method: 'logical',
        serverVersion: server.version,
        identity: 'kv',
        inventoryLevel: 'full',
        totals: { keys: server.data.size },
        warnings: server.warnings,
      };
    },
    async restore(ctx, { base }, options = {}) {
      if (server.data.size > 0 && !options.replace) throw new Failure('target-not-empty', 'the kv server holds data');
      await server.fault('restore');
      server.data.clear();
      let bytes = 0;
      for await (const { name } of base.parts(ctx, 'keys/')) {
        const key = name.slice('keys/'.length);
        if (options.select?.keys && !options.select.keys.includes(key)) continue;
        const value = await readAll(base.get(ctx, name));
        bytes += value.length;
        server.data.set(key, value.toString());
      }
      return { bytes, method: 'logical', warnings: [] };
    },
    async inventory() {
      await server.fault('inventory');
      return inventoryFrom(linesOf(server));
    },
    async measure(_ctx, query) {
      await server.fault('measure');
      if (query === 'count') return server.data.size;
      return Number(server.data.get(query));
    },
    async *extract(ctx, { base }, selection, sandbox): AsyncIterable<Row> {
      const source = selection.where === 'through a sandbox' ? await sandbox() : null;
      await source?.restore(ctx, { base });
      for await (const { name } of base.parts(ctx, 'keys/')) {
        const value = (await readAll(base.get(ctx, name))).toString();
        yield { key: name.slice('keys/'.length), value };
      }
    },
    async merge(_ctx, rows, _selection, mode) {
      const counts = { missing: 0, different: 0, same: 0, applied: 0 };
      for await (const { key, value } of rows) {
        const live = server.data.get(key);
        const what = live === undefined ? 'missing' : live === value ? 'same' : 'different';
        counts[what] += 1;
        if (mode === 'preview' || what === 'same' || (what === 'different' && mode !== 'overwrite')) continue;
        server.data.set(key, String(value));
        counts.applied += 1;
      }
      return counts;
    },
  };
}

function stagingComponent(server: KvServer): Component {
  return {
    ...kvComponent(server),
    async stage(ctx, chain, id): Promise<Staged> {
      const beside = kvServer();
      const component = kvComponent({ ...server, data: beside.data });
      await component.restore(ctx, chain, { replace: true });
      return {
        component,
        async publish() {
          await server.fault('publish');
          server.data = beside.data;
          return { keptAs: [`kv__lifeboat_${id}`] };
        },
        [Symbol.asyncDispose]: async () => undefined,
      };
    },
  };
}

async function findPart(ctx: Context, source: Source, name: string): Promise<Part | undefined> {
  for await (const part of source.parts(ctx, name)) if (part.name === name) return part;
  return undefined;
}

function linesOf(server: KvServer): InventoryLine[] {
  return [...server.data]
    .map(([name, value]) => ({ kind: 'key', name, count: value.length, digest: digestOf(value) }))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

function digestOf(value: string | Uint8Array): string {
  return `sha256:${createHash('sha256').update(value).digest('hex')}`;
}

/** Throw-away kv servers, as a process runner would make them. */
export function kvSandboxes(fault: () => void = () => undefined): SandboxRunner & { running: number; started: number } {
  return {
    name: 'maps',
    running: 0,
    started: 0,
    async start(_ctx, driver) {
      fault();
      this.running += 1;
      this.started += 1;
      return {
        component: driver.open(kvServer()),
        dir: '/nowhere',
        [Symbol.asyncDispose]: async () => {
          this.running -= 1;
        },
      };
    },
  };
}

// ---- a store -------------------------------------------------------------------------------------------

interface Held {
  readonly data: Buffer;
  readonly digest: string;
}
type Parts = Map<string, Held>;
interface DraftState {
  readonly sinks: Map<string, Parts>;
  readonly receipts: Map<string, Receipt>;
}

/** What lies in a store, whoever opens it. */
export interface Disk {
  readonly points: Map<string, { point: RecoveryPoint; components: Map<string, Parts> }>;
  readonly drafts: Map<string, DraftState>;
  readonly records: Map<string, Json>;
  /** Throws where a test wants it to: 'put db/keys/a', 'commit 2026-…', 'record owed/…'. */
  fault: (step: string) => void | Promise<void>;
  /** Streams that are put at the same time, at most. */
  putsMax: number;
}

export function disk(): Disk {
  return { points: new Map(), drafts: new Map(), records: new Map(), fault: () => undefined, putsMax: 1000 };
}

export function named(name: string, on: Disk): NamedStore {
  return { name, store: storeOn(on) };
}

/** Changes a part behind the store's back. */
export function damage(on: Disk, point: string, component: string, part: string, data: string | null): void {
  const parts = on.points.get(point)?.components.get(component);
  const held = parts?.get(part);
  if (!parts || !held) throw new Error(`no ${point}/${component}/${part} to damage`);
  if (data === null) parts.delete(part);
  else parts.set(part, { ...held, data: Buffer.from(data) });
}

function storeOn(on: Disk): Store {
  return {
    url: 'memory:',
    async begin(_ctx, id) {
      await on.fault(`begin ${id}`);
      if (on.points.has(id) || on.drafts.has(id)) throw new Failure('exists', `${id} is taken`);
      on.drafts.set(id, { sinks: new Map(), receipts: new Map() });
      return draftOf(on, id);
    },
    async resume(_ctx, id) {
      await on.fault(`resume ${id}`);
      if (!on.drafts.has(id)) throw new Failure('missing', `there is no draft ${id}`);
      return draftOf(on, id);
    },
    receipts: async (_ctx, id) => [...(on.drafts.get(id)?.receipts.values() ?? [])],
    async commit(_ctx, { id }, point, receipts) {
      await on.fault(`commit ${id}`);
      const draft = on.drafts.get(id);
      if (!draft || on.points.has(id)) throw new Failure('exists', `${id} is taken`);
      const components = new Map(receipts.map(({ component }) => [component, draft.sinks.get(component) ?? new Map()]));
      on.points.set(id, { point: structuredClone(point), components });
      on.drafts.delete(id);
      return point;
    },
    async *list() {
      await on.fault('list');
      for (const id of [...on.points.keys()].toSorted()) {
        const held = on.points.get(id);
        if (held) yield held.point;
      }
    },
    async open(_ctx, point, component) {
      await on.fault(`open ${point}/${component}`);
      const parts = on.points.get(point)?.components.get(component);
      if (!parts) throw new Failure('missing', `${point}/${component} is not there`);
      return sourceOf(on, point, component, parts);
    },
    async remove(_ctx, ids) {
      for (const id of ids) {
        await on.fault(`remove ${id}`);
        on.points.delete(id);
      }
    },
    async *check(_ctx, { readData }) {
      for (const [id, { components }] of on.points) {
        for (const [component, parts] of components) {
          for (const [name, { data, digest }] of parts) {
            if (readData === 0 || digestOf(data) === digest) continue;
            yield { check: `${id}/${component}/${name}`, verdict: 'fail', detail: 'it was changed' };
          }
        }
      }
    },
    reclaim: async () => ({ bytes: 0, objects: 0, pendingBytes: 0, pendingObjects: 0 }),
    bytes: async () => 0,
    records: recordsOf(on),
    [Symbol.asyncDispose]: async () => undefined,
  };
}

function draftOf(on: Disk, id: string): Draft {
  let putting = 0;
  const state = on.drafts.get(id);
  if (!state) throw new Error(`no draft ${id}`);
  function sink(component: string): Sink {
    const parts: Parts = new Map();
    state?.sinks.set(component, parts);
    const add = (name: string, data: Buffer): Part => {
      parts.set(name, { data, digest: digestOf(data) });
      return { name, bytes: data.length, digest: digestOf(data), point: id, component };
    };
    return {
      async put(_ctx, name, body) {
        if (++putting > on.putsMax) throw new Failure('locked', `more than ${on.putsMax} parts at the same time`);
        try {
          await on.fault(`put ${component}/${name}`);
          return add(name, await readAll(body));
        } finally {
          putting -= 1;
        }
      },
      async keep(_ctx, name, from) {
        await on.fault(`keep ${component}/${name}`);
        const held = on.points.get(from.point)?.components.get(from.component)?.get(from.name);
        if (!held) throw new Failure('missing', `nothing to keep as ${name}`);
        return add(name, held.data);
      },
      async receipt() {
        await on.fault(`receipt ${component}`);
        const bytes = [...parts.values()].reduce((sum, { data }) => sum + data.length, 0);
        const receipt: Receipt = { component, parts: parts.size, bytes, proof: null };
        state?.receipts.set(component, receipt);
        return receipt;
      },
    };
  }
  return {
    id,
    sink,
    async [Symbol.asyncDispose]() {
      if (on.drafts.get(id) === state) on.drafts.delete(id);
    },
  };
}

function sourceOf(on: Disk, point: string, component: string, parts: Parts): Source {
  const find = (name: string): Held => {
    const held = parts.get(name);
    if (!held) throw new Failure('missing', `${point}/${component}/${name} is not there`);
    return held;
  };
  const partOf = (name: string): Part => {
    const { data, digest } = find(name);
    return { name, bytes: data.length, digest, point, component };
  };
  return {
    point,
    component,
    async *parts(_ctx, prefix = '') {
      const names = [...parts.keys()].toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      for (const name of names) if (name.startsWith(prefix)) yield partOf(name);
    },
    part: async (_ctx, name) => partOf(name),
    async *get(_ctx, name, range) {
      await on.fault(`get ${component}/${name}`);
      const { data, digest } = find(name);
      if (digestOf(data) !== digest) throw new Failure('checksum', `${point}/${component}/${name} was changed`);
      yield range ? data.subarray(range.offset, range.offset + range.length) : data;
    },
  };
}

function recordsOf(on: Disk): Store['records'] {
  return {
    async put(_ctx, kind, id, value) {
      await on.fault(`record ${kind}/${id}`);
      on.records.set(`${kind}/${id}`, structuredClone(value));
    },
    async get(_ctx, kind, id) {
      const value = on.records.get(`${kind}/${id}`);
      if (value === undefined) throw new Failure('missing', `there is no record ${kind}/${id}`);
      return structuredClone(value);
    },
    async *list(_ctx, kind, prefix = '') {
      for (const key of [...on.records.keys()].toSorted()) {
        if (key.startsWith(`${kind}/${prefix}`)) yield key.slice(kind.length + 1);
      }
    },
    async delete(_ctx, kind, id) {
      await on.fault(`unrecord ${kind}/${id}`);
      on.records.delete(`${kind}/${id}`);
    },
  };
}

// What the engine's tests are made of: a service that is a Map. It is real, only small: it keeps the
// contracts of core/model.ts.

import { createHash, hash } from 'node:crypto';
import { readAll } from '../core/bytes.ts';
import type { Component, Staged } from '../core/component.ts';
import type { Driver, SandboxRunner } from '../core/driver.ts';
import { Failure } from '../core/errors.ts';
import { inventoryFrom, judge, paired, putInventory } from '../core/inventory.ts';
import { keepAll, putAll } from '../core/many-parts.ts';
import type { Context, Finding, InventoryLine, KeptPart, Part, Row, Source, WholePart } from '../core/model.ts';
import type { StackComponent } from './model.ts';

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
      const kept: KeptPart[] = [];
      const fresh: WholePart[] = [];
      for (const [key, value] of server.data) {
        const name = `keys/${key}`;
        const from = previous && (await findPart(ctx, previous, name));
        if (from && server.seen.get(key) === value) kept.push({ name, from });
        else fresh.push({ name, whole: Buffer.from(value), sha256: hash('sha256', value) });
      }
      await keepAll(ctx, sink, kept);
      await putAll(ctx, sink, fresh);
      server.kept = kept.length;
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

export function digestOf(value: string | Uint8Array): string {
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

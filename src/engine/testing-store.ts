// The store of the engine's tests: Maps that keep the contracts of core/storage.ts.

import { readAll } from '../core/bytes.ts';
import { Failure } from '../core/errors.ts';
import type { Json, Part, Receipt, Sink, Source } from '../core/model.ts';
import type { RecoveryPoint } from '../core/point.ts';
import type { Draft, Store } from '../core/storage.ts';
import type { NamedStore } from './model.ts';
import { digestOf } from './testing.ts';

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
  return {
    points: new Map(),
    drafts: new Map(),
    records: new Map(),
    fault: () => undefined,
    putsMax: 1000,
  };
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
      return 0;
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
    async reclaim() {
      await on.fault('reclaim');
      return { bytes: 0, objects: 0, pendingBytes: 0, pendingObjects: 0 };
    },
    bytes: async () => 0,
    records: recordsOf(on),
    journal() {
      throw new Error('the tests of journals have real stores');
    },
    async *journals() {},
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
      await on.fault(`read ${kind}/${id}`);
      const value = on.records.get(`${kind}/${id}`);
      if (value === undefined) throw new Failure('missing', `there is no record ${kind}/${id}`);
      return structuredClone(value);
    },
    async *list(_ctx, kind, prefix = '') {
      await on.fault(`look ${kind}/${prefix}`);
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

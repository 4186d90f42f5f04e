import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readAll } from './bytes.ts';
import { sleep } from './context.ts';
import { Failure } from './errors.ts';
import type { Context, FileAttributes, Log, Part, Progress, Sink, Source } from './model.ts';
import type { CapturedComponent } from './point.ts';

export interface TestContext extends Context {
  /** Moves the clock. */
  advance(ms: number): void;
  readonly logged: { level: keyof Log; message: string; fields: unknown }[];
  readonly events: Progress[];
}

let scratch: string | undefined;
function scratchDir(): string {
  if (scratch === undefined) {
    const made = mkdtempSync(join(tmpdir(), 'lifeboat-test-'));
    scratch = made;
    process.once('exit', () => rmSync(made, { recursive: true, force: true }));
  }
  return scratch;
}

/** A context whose clock moves one second each time it is read, and whose sleeps take no time but move it. */
export function testContext(overrides: Partial<Context> = {}): TestContext {
  let at = Date.parse('2026-01-01T00:00:00Z');
  const logged: TestContext['logged'] = [];
  const events: Progress[] = [];
  const entry = (level: keyof Log) => (message: string, fields?: unknown) =>
    void logged.push({ level, message, fields });
  const base: Context = {
    signal: new AbortController().signal,
    now: () => new Date((at += 1000)),
    monotonicMs: () => performance.now(),
    sleep: async (ms) => {
      at += ms;
      (overrides.signal ?? base.signal).throwIfAborted();
      await new Promise((resolve) => setImmediate(resolve));
    },
    progress: (event) => void events.push(event),
    log: { debug: entry('debug'), info: entry('info'), warn: entry('warn'), error: entry('error') },
    env: process.env,
    scratch: scratchDir(),
  };
  return { ...base, ...overrides, advance: (ms) => void (at += ms), logged, events };
}

/** A context with the real clock and real sleeps, for tests that wait for real servers. */
export function liveContext(overrides: Partial<Context> = {}): TestContext {
  return testContext({ now: () => new Date(), sleep, ...overrides });
}

/** One component's parts in memory: a real sink, and the source of what was put, for tests of drivers. */
export function memoryParts(component = 'it', point = '2026-01-01-000000'): { sink: Sink; source: Source } {
  const held = new Map<string, { part: Part; data: Buffer }>();
  const find = (name: string): { part: Part; data: Buffer } => {
    const found = held.get(name);
    if (!found) throw new Failure('missing', `${point}/${component} has no part ${name}`);
    return found;
  };
  const add = (name: string, data: Buffer, attributes: FileAttributes | undefined): Part => {
    const digest = `sha256:${createHash('sha256').update(data).digest('hex')}`;
    const part = { name, bytes: data.length, digest, point, component, ...(attributes ? { attributes } : {}) };
    held.set(name, { part, data });
    return part;
  };
  const sink: Sink = {
    put: async (_ctx, name, body, meta) => add(name, await readAll(body, 2 ** 31), meta?.attributes),
    keep: async (_ctx, name, from, meta) => add(name, find(from.name).data, meta?.attributes),
    receipt: async () => ({ component, parts: held.size, bytes: 0, proof: null }),
  };
  const source: Source = {
    point,
    component,
    async *parts(_ctx, prefix = '') {
      for (const name of [...held.keys()].sort()) if (name.startsWith(prefix)) yield find(name).part;
    },
    part: async (_ctx, name) => find(name).part,
    async *get(_ctx, name, range) {
      const { data } = find(name);
      const end = range ? range.offset + range.length : data.length;
      if (end > data.length) throw new Failure('missing', `${point}/${component}/${name} has no byte ${end - 1}`);
      const body = data.subarray(range?.offset ?? 0, end);
      for (let at = 0; at < body.length; at += 65536) yield body.subarray(at, at + 65536);
    },
  };
  return { sink, source };
}

/** A component as it stands in the manifest of a point that went well. */
export function captured(more: Partial<CapturedComponent> = {}): CapturedComponent {
  return {
    kind: 'kv',
    error: null,
    serverVersion: '1.0',
    identity: 'me',
    method: 'logical',
    cut: null,
    inventoryLevel: 'full',
    totals: {},
    parts: { count: 0, bytes: 0 },
    durationMs: 0,
    warnings: [],
    external: null,
    journal: null,
    ...more,
  };
}

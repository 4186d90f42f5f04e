// Rows, keys and files out of a point, without restoring all of it; and back into a live service, difference first.

import { createReadStream, createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { linesOf } from '../core/bytes.ts';
import type { Component } from '../core/component.ts';
import type { Sandbox, SandboxRunner } from '../core/driver.ts';
import { Failure } from '../core/errors.ts';
import type { Context, Merged, MergeMode, Row, Selection } from '../core/model.ts';
import type { RecoveryPoint } from '../core/point.ts';
import { heldIn, type NamedStore, type StackComponent } from './model.ts';
import { needThawed } from './thaw.ts';

/** The longest row that is carried over; longer ones are brought back by restoring the table. */
const ROW_BYTES_MAX = 256 * 1024 * 1024;

export interface ExtractRequest {
  readonly from: NamedStore;
  readonly point: RecoveryPoint;
  readonly component: StackComponent;
  readonly selection: Selection;
  /** Started only when the driver needs a server to read the point. */
  readonly sandboxes: SandboxRunner;
}

/** Streams the rows. The sandbox, if one was needed, is gone when the iteration has ended, however it ended. */
export async function* extractRows(ctx: Context, request: ExtractRequest): AsyncIterable<Row> {
  const { from, point, component: item } = request;
  const captured = heldIn(point, item.name);
  if (!captured) throw new Failure('missing', `point ${point.id} does not hold ${item.name}`);
  const { component } = item;
  if (!component.extract) {
    throw new Failure('usage', `a component of kind ${item.kind} has no rows to extract; restore it instead`);
  }
  await needThawed(ctx, from, new Map([[point.id, [item.name]]]));
  let box: Sandbox | undefined;
  const sandbox = async (): Promise<Component> => {
    const version = captured.serverVersion ?? (await component.probe(ctx)).version;
    box ??= await request.sandboxes.start(ctx, item.driver, version, item.settings);
    return box.component;
  };
  try {
    const base = await from.store.open(ctx, point.id, item.name);
    let rows = 0;
    for await (const row of component.extract(ctx, { base }, request.selection, sandbox)) {
      rows += 1;
      ctx.progress({ task: item.name, phase: 'extract', items: rows });
      yield row;
    }
  } finally {
    await box?.[Symbol.asyncDispose]();
  }
}

export interface MergeRequest extends ExtractRequest {
  /** The live service that gets the rows. */
  readonly into: StackComponent;
  readonly mode: MergeMode;
  /** Is shown the difference and says whether to go on. */
  readonly confirm: (difference: Merged) => Promise<boolean>;
}

export interface MergedRows {
  /** What would change, told before anything did. */
  readonly difference: Merged;
  /** Null when it was only a preview, when there was nothing to do, or when it was not confirmed. */
  readonly applied: Merged | null;
}

/** The rows are read from the point once; the difference and the merge then work on the same ones. */
export async function mergeRows(ctx: Context, request: MergeRequest): Promise<MergedRows> {
  const { into, selection, mode } = request;
  const target = into.component;
  if (!target.merge) throw new Failure('usage', `rows can't be put into a component of kind ${into.kind}`);
  if (into.kind !== request.component.kind) {
    throw new Failure('usage', `rows of kind ${request.component.kind} don't fit ${into.name}, which is ${into.kind}`);
  }
  const dir = await mkdtemp(join(ctx.scratch, 'extract-'));
  try {
    const path = join(dir, 'rows.ndjson');
    await spoolRows(ctx, extractRows(ctx, request), path);
    const difference = await target.merge(ctx, readRows(path), selection, 'preview');
    const wanted = difference.missing + (mode === 'overwrite' ? difference.different : 0);
    if (mode === 'preview' || wanted === 0 || !(await request.confirm(difference)))
      return { difference, applied: null };
    return { difference, applied: await target.merge(ctx, readRows(path), selection, mode) };
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function spoolRows(ctx: Context, rows: AsyncIterable<Row>, path: string): Promise<void> {
  async function* lines(): AsyncIterable<string> {
    for await (const row of rows) yield `${JSON.stringify(row)}\n`;
  }
  await pipeline(Readable.from(lines(), { objectMode: false }), createWriteStream(path, { mode: 0o600 }), {
    signal: ctx.signal,
  });
}

async function* readRows(path: string): AsyncIterable<Row> {
  for await (const line of linesOf(createReadStream(path), ROW_BYTES_MAX)) yield JSON.parse(line) as Row;
}

// Many small parts at once, whether a sink or a source has a quicker way for that or not.

import { bytesOf, readAll } from './bytes.ts';
import type { Context, KeptPart, Part, Sink, Source, WholePart } from './model.ts';
import { mapBounded, mapOrdered } from './parallel.ts';

const PARALLEL = 16;

export async function putAll(ctx: Context, sink: Sink, parts: readonly WholePart[]): Promise<readonly Part[]> {
  if (sink.putAll) return await sink.putAll(ctx, parts);
  return await mapBounded(parts, PARALLEL, ({ name, whole, meta }) => sink.put(ctx, name, bytesOf(whole), meta));
}

export async function keepAll(ctx: Context, sink: Sink, parts: readonly KeptPart[]): Promise<readonly Part[]> {
  if (sink.keepAll) return await sink.keepAll(ctx, parts);
  return await mapBounded(parts, PARALLEL, ({ name, from, meta }) => sink.keep(ctx, name, from, meta));
}

export async function* getAll(
  ctx: Context,
  source: Source,
  names: readonly string[],
): AsyncIterable<readonly Uint8Array[]> {
  if (source.getAll) return yield* source.getAll(ctx, names);
  for await (const whole of mapOrdered(names, PARALLEL, (name) => readAll(source.get(ctx, name)))) yield [whole];
}

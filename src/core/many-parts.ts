// Many small parts at once, whether a sink or a source has a quicker way for that or not.

import assert from 'node:assert/strict';
import { bytesOf, readAll } from './bytes.ts';
import { Failure } from './errors.ts';
import type { Bytes, Context, KeptPart, Part, Sink, Source, WholePart } from './model.ts';
import { mapBounded, mapOrdered } from './parallel.ts';

const PARALLEL = 16;
/** Of a part that is read whole: some are held at a time. */
export const WHOLE_BYTES_MAX = 4 * 1024 * 1024;

export async function putAll(ctx: Context, sink: Sink, parts: readonly WholePart[]): Promise<readonly Part[]> {
  if (sink.putAll) return await sink.putAll(ctx, parts);
  return await mapBounded(parts, PARALLEL, ({ name, whole, meta }) => sink.put(ctx, name, bytesOf(whole), meta));
}

export async function keepAll(ctx: Context, sink: Sink, parts: readonly KeptPart[]): Promise<readonly Part[]> {
  if (sink.keepAll) return await sink.keepAll(ctx, parts);
  return await mapBounded(parts, PARALLEL, ({ name, from, meta }) => sink.keep(ctx, name, from, meta));
}

/** `keep` of a sink that keeps many. */
export function keepBy(keepMany: NonNullable<Sink['keepAll']>): Sink['keep'] {
  return async (ctx, name, from, meta) => only(await keepMany(ctx, [{ name, from, ...(meta ? { meta } : {}) }]));
}

/** Of a call that took one. */
export function only([part]: readonly Part[]): Part {
  assert(part, 'a part comes back for each that was taken');
  return part;
}

export async function* getAll(
  ctx: Context,
  source: Source,
  names: readonly string[],
): AsyncIterable<readonly Uint8Array[]> {
  if (source.getAll) return yield* source.getAll(ctx, names);
  for await (const whole of mapOrdered(names, PARALLEL, (name) => wholeOf(ctx, source, name))) {
    yield [whole];
  }
}

async function wholeOf(ctx: Context, source: Source, name: string): Promise<Buffer> {
  const { bytes } = await source.part(ctx, name);
  const what = `${source.point}/${source.component}/${name}`;
  if (bytes > WHOLE_BYTES_MAX) throw tooLarge(what, bytes);
  let read = 0;
  async function* asSaid(): Bytes {
    for await (const chunk of source.get(ctx, name)) {
      read += chunk.length;
      if (read > bytes) throw new Failure('checksum', `${what} has more than ${bytes} bytes`);
      yield chunk;
    }
  }
  return await readAll(asSaid());
}

/** Who asks for whole parts has looked at their sizes, so that it is the point that contradicts itself. */
export function tooLarge(what: string, bytes: number): Failure {
  return new Failure('malformed', `${what} has ${bytes} bytes: ${WHOLE_BYTES_MAX} at most are read at once`);
}

// The bytes of parts, out of their blobs.

import assert from 'node:assert/strict';
import { Failure } from '../../core/errors.ts';
import type { ByteRange, Bytes, Context } from '../../core/model.ts';
import type { TreeNode } from './nodes.ts';
import type { Reader } from './reader.ts';
import { ID_BYTES } from './reader-plan.ts';

export interface Wanted {
  /** For messages: point, component and name. */
  readonly what: string;
  readonly node: TreeNode;
}

export async function* bodyOf(ctx: Context, reader: Reader, { what, node }: Wanted, range?: ByteRange): Bytes {
  const { content, bytes } = node;
  if (range && range.offset + range.length > bytes) {
    throw new Failure('missing', `${what} has ${bytes} bytes: a range ends past them`);
  }
  let read = 0;
  try {
    for await (const chunk of reader.stream(ctx, content, range)) {
      read += chunk.length;
      yield chunk;
    }
  } catch (cause) {
    throw unreadable(what, cause);
  }
  if (read !== (range?.length ?? bytes)) throw otherLength(what, read, bytes);
}

/** All bytes of each, some parts at a time. */
export async function* bodiesOf(
  ctx: Context,
  reader: Reader,
  wanted: readonly Wanted[],
): AsyncIterable<readonly Uint8Array[]> {
  let at = 0;
  let held: Uint8Array[] = []; // of a part that is not whole yet
  const blobsLeft = (): number => (wanted[at]?.node.content.length ?? 0) / ID_BYTES - held.length;
  function next(): Uint8Array {
    const part = wanted[at];
    assert(part, 'blobs belong to parts');
    const { what, node } = part;
    const [only] = held;
    const whole = only && held.length === 1 ? only : Buffer.concat(held);
    if (whole.length !== node.bytes) throw otherLength(what, whole.length, node.bytes);
    held = [];
    at += 1;
    return whole;
  }
  try {
    for await (const blobs of reader.blobs(ctx, Buffer.concat(wanted.map(({ node }) => node.content)))) {
      const bodies: Uint8Array[] = [];
      for (const blob of blobs) {
        while (blobsLeft() === 0) bodies.push(next()); // an empty part has none
        held.push(blob);
        if (blobsLeft() === 0) bodies.push(next());
      }
      held = held.map((blob) => Uint8Array.from(blob)); // blobs are borrowed
      yield bodies;
    }
  } catch (cause) {
    throw unreadable(wanted[at]?.what, cause);
  }
  if (at < wanted.length) yield wanted.slice(at).map(next);
}

function unreadable(what: string | undefined, cause: unknown): unknown {
  if (!(cause instanceof Failure)) return cause;
  return new Failure(cause.code, `${what} can't be read: ${cause.message}`, { cause, hint: cause.hint });
}

function otherLength(what: string, read: number, bytes: number): Failure {
  return new Failure('checksum', `${what} has ${read} bytes and should have ${bytes}`);
}

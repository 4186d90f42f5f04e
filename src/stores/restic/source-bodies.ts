// The bytes of parts, out of their blobs.

import assert from 'node:assert/strict';
import { Failure } from '../../core/errors.ts';
import { tooLarge, WHOLE_BYTES_MAX } from '../../core/many-parts.ts';
import type { ByteRange, Bytes, Context } from '../../core/model.ts';
import type { TreeNode } from './nodes.ts';
import { copyInto } from './pool-buffers.ts';
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
  yield* asSaid(reader.stream(ctx, content, range), what, range?.length ?? bytes);
}

/** All of it, its blobs not hashed: another blob in the place of one may have another length, too. */
export function unhashedBodyOf(ctx: Context, reader: Reader, { what, node }: Wanted): Bytes {
  return asSaid(reader.unhashed(ctx, node.content), what, null);
}

/** Any length will do where `bytes` is null. */
async function* asSaid(body: Bytes, what: string, bytes: number | null): Bytes {
  let read = 0;
  try {
    for await (const chunk of body) {
      read += chunk.length;
      yield chunk;
    }
  } catch (cause) {
    throw unreadable(what, cause);
  }
  if (bytes !== null && read !== bytes) throw otherLength(what, read, bytes);
}

/**
 * All bytes of each, some parts at a time. What can be had comes before the failure of a part that can't. 'malformed'
 * for one that is too large to be given whole.
 */
export async function* bodiesOf(
  ctx: Context,
  reader: Reader,
  wanted: readonly Wanted[],
): AsyncIterable<readonly Uint8Array[]> {
  const large = wanted.find(({ node }) => node.bytes > WHOLE_BYTES_MAX);
  const small = large ? wanted.slice(0, wanted.indexOf(large)) : wanted;
  const parts = partsInTurn(small);
  function* wholeWith(blobs: readonly Uint8Array[]): Iterable<readonly Uint8Array[]> {
    try {
      parts.add(blobs);
    } finally {
      yield parts.whole(); // while their bytes are still lent
    }
  }
  try {
    yield* wholeWith([]);
    const ids = Buffer.concat(small.map(({ node }) => node.content));
    for await (const blobs of reader.blobs(ctx, ids)) yield* wholeWith(blobs);
  } catch (cause) {
    throw unreadable(parts.what(), cause);
  }
  if (large) throw tooLarge(large.what, large.node.bytes);
}

interface PartsInTurn {
  /** Takes the next blobs of all parts: copies, but for a part of one blob. */
  add(blobs: readonly Uint8Array[]): void;
  /** Those that became whole since it was asked. */
  whole(): readonly Uint8Array[];
  /** The part that comes next, for messages. */
  what(): string | undefined;
}

/** No part takes more memory than it is said to have bytes. */
function partsInTurn(wanted: readonly Wanted[]): PartsInTurn {
  let at = 0;
  let bodies: Uint8Array[] = [];
  let memory: Buffer | undefined; // of a part of several blobs
  let filled = 0;
  let left = blobsOf(wanted[0]);

  function end({ what, node }: Wanted, whole: Uint8Array): void {
    if (whole.length !== node.bytes) throw otherLength(what, whole.length, node.bytes);
    bodies.push(whole);
    at += 1;
    memory = undefined;
    left = blobsOf(wanted[at]);
  }
  function endEmpty(): void {
    for (let part = wanted[at]; part && left === 0; part = wanted[at]) end(part, Buffer.alloc(0));
  }
  function addOne(blob: Uint8Array): void {
    const part = wanted[at];
    assert(part, 'blobs belong to parts');
    const { what, node } = part;
    if (!memory) {
      if (left === 1) {
        end(part, blob);
        return;
      }
      memory = Buffer.allocUnsafeSlow(node.bytes);
      filled = 0;
    }
    if (filled + blob.length > node.bytes) throw otherLength(what, filled + blob.length, node.bytes);
    copyInto(memory.buffer, filled, blob);
    filled += blob.length;
    left -= 1;
    if (left === 0) end(part, memory.subarray(0, filled));
  }
  return {
    add(blobs) {
      endEmpty();
      for (const blob of blobs) {
        addOne(blob);
        endEmpty();
      }
    },
    whole() {
      const some = bodies;
      bodies = [];
      return some;
    },
    what: () => wanted[at]?.what,
  };
}

function blobsOf(part: Wanted | undefined): number {
  return (part?.node.content.length ?? 0) / ID_BYTES;
}

function unreadable(what: string | undefined, cause: unknown): unknown {
  if (!(cause instanceof Failure)) return cause;
  return new Failure(cause.code, `${what} can't be read: ${cause.message}`, { cause, hint: cause.hint });
}

function otherLength(what: string, read: number, bytes: number): Failure {
  return new Failure('checksum', `${what} has ${read} bytes and should have ${bytes}`);
}

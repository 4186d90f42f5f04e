// Sends documents to a server as they are stored, in requests of some MiB, several at a time. What is refused for want
// of capacity is sent again, what is refused for good is counted and named.

import { z } from 'zod';
import { Failure } from '../../core/errors.ts';
import type { Bytes, Context } from '../../core/model.ts';
import { type Client, parsed, type Reply } from './client.ts';

const LINE_FEED = 10;
const BATCH_BYTES = 4 * 1024 * 1024;
/** Of one document with its line before it: servers take requests of 100 MB. */
const DOCUMENT_BYTES_MAX = 256 * 1024 * 1024;
const AGAIN_MAX = 12;
const FIRST_WAIT_MS = 250;
const WAIT_MS_MAX = 20_000;
const REASONS_MAX = 3;
/** How servers say that they write no more, in items that look as if it would pass. */
const DISK_FULL = /flood-stage|read-only-allow-delete/;

export interface Batch {
  readonly body: Buffer;
  readonly documents: number;
}
export interface Refused {
  documents: number;
  readonly reasons: string[];
}

/** Whole documents, about `BATCH_BYTES` at a time. A part that ends within one is 'malformed'. */
export async function* batchesOf(body: Bytes, part: string): AsyncIterable<Batch> {
  let held: Buffer[] = [];
  let bytes = 0;
  let wanted = BATCH_BYTES;
  for await (const chunk of body) {
    held.push(Buffer.from(chunk)); // chunks are borrowed
    bytes += chunk.length;
    if (bytes < wanted) continue;
    if (bytes > DOCUMENT_BYTES_MAX) throw new Failure('malformed', `${part} has a document that does not end`);
    const all = held.length === 1 ? (held[0] ?? Buffer.alloc(0)) : Buffer.concat(held, bytes);
    const { end, lines } = wholeDocuments(all);
    held = end < all.length ? [all.subarray(end)] : [];
    bytes = all.length - end;
    wanted = lines > 0 ? BATCH_BYTES : bytes * 2; // a large one is not looked through for each of its chunks
    if (lines > 0) yield { body: all.subarray(0, end), documents: lines / 2 };
  }
  if (bytes === 0) return;
  const all = Buffer.concat(held, bytes);
  const { end, lines } = wholeDocuments(all);
  if (end !== all.length) throw new Failure('malformed', `${part} ends within a document`);
  yield { body: all, documents: lines / 2 };
}

function wholeDocuments(all: Buffer): { end: number; lines: number } {
  let end = 0;
  let lines = 0;
  for (let at = all.indexOf(LINE_FEED), n = 1; at >= 0; at = all.indexOf(LINE_FEED, at + 1), n++) {
    if (n % 2 === 0) {
      end = at + 1;
      lines = n;
    }
  }
  return { end, lines };
}

const itemsSchema = z.object({
  items: z.array(
    z.record(
      z.string(),
      z.object({ status: z.number(), error: z.object({ reason: z.string().nullish() }).optional() }),
    ),
  ),
});

/** Sends it until all of it is there or refused for good. `into` is an index or a data stream. */
export async function sendBatch(
  ctx: Context,
  client: Client,
  into: string,
  batch: Batch,
  refused: Refused,
): Promise<void> {
  let left = batch;
  for (let again = 0; ; again++) {
    const reply = await askBulk(ctx, client, into, left);
    if (reply === 'too large') {
      for (const half of halves(left)) await sendBatch(ctx, client, into, half, refused);
      return;
    }
    const busy = await busyItems(client, { into, reply, left, refused, again });
    if (busy.length === 0) return;
    if (again === AGAIN_MAX) {
      throw new Failure('unreachable', `${client.where} took not all documents of ${into}: it is too busy`, {
        hint: 'try again with less load on the cluster',
      });
    }
    left = picked(left, busy);
    await ctx.sleep(Math.min(FIRST_WAIT_MS * 2 ** again, WAIT_MS_MAX));
  }
}

async function askBulk(
  ctx: Context,
  client: Client,
  into: string,
  { body, documents }: Batch,
): Promise<Reply | 'too large'> {
  const filter = 'filter_path=errors,items.*.status,items.*.error.reason';
  const path = `/${encodeURIComponent(into)}/_bulk?pipeline=_none&${filter}`;
  const reply = await client.send(ctx, { method: 'POST', path, body });
  if (reply.status === 413 && documents > 1) return 'too large';
  if (reply.status >= 300) throw client.refusal(`putting documents into ${into}`, reply);
  return reply;
}

/** Positions of documents that may be taken later. */
async function busyItems(
  client: Client,
  { into, reply, left, refused, again }: { into: string; reply: Reply; left: Batch; refused: Refused; again: number },
): Promise<number[]> {
  if (reply.body.subarray(0, 15).toString('latin1').startsWith('{"errors":false')) return [];
  const { items } = parsed(itemsSchema, reply.body, `${client.where}: the answer to documents for ${into}`);
  if (items.length !== left.documents) {
    throw new Failure(
      'malformed',
      `${client.where} was given ${left.documents} documents and answered ${items.length}`,
    );
  }
  const busy: number[] = [];
  for (const [at, item] of items.entries()) {
    const [{ status, error } = { status: 500 }] = Object.values(item);
    if (DISK_FULL.test(error?.reason ?? '')) throw diskFull(client.where, into);
    if (status === 429 || status === 503) busy.push(at);
    // What was sent twice is there: only data streams refuse it then.
    else if (status >= 300 && !(status === 409 && (again > 0 || reply.again)))
      note(refused, error?.reason ?? `status ${status}`);
  }
  return busy;
}

function diskFull(where: string, into: string): Failure {
  return new Failure('no-space', `${where} takes no more documents of ${into}: its disk is nearly full`, {
    hint: 'free space there, or raise cluster.routing.allocation.disk.watermark.flood_stage, then restore again',
  });
}

function note(refused: Refused, reason: string): void {
  refused.documents += 1;
  const short = reason.slice(0, 300);
  if (refused.reasons.length < REASONS_MAX && !refused.reasons.includes(short)) refused.reasons.push(short);
}

function halves({ body, documents }: Batch): Batch[] {
  const half = documents >> 1;
  const positions = Array.from({ length: documents }).keys();
  const all = [...positions];
  return [picked({ body, documents }, all.slice(0, half)), picked({ body, documents }, all.slice(half))];
}

function picked({ body }: Batch, positions: readonly number[]): Batch {
  const wanted = new Set(positions);
  const pieces: Buffer[] = [];
  let from = 0;
  for (let document = 0; from < body.length; document++) {
    const to = body.indexOf(LINE_FEED, body.indexOf(LINE_FEED, from) + 1) + 1;
    if (wanted.has(document)) pieces.push(body.subarray(from, to));
    from = to;
  }
  return { body: Buffer.concat(pieces), documents: positions.length };
}

// Documents of one index as of one moment, page by page. While one page is worked on, the next is fetched.

import { z } from 'zod';
import { type ReusedMemory, reusedMemory } from '../../core/bytes.ts';
import { outliving, withSignal } from '../../core/context.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { type Client, jsonOf, type Request } from './client.ts';
import { type DocumentSum, idsOf, type Operation, type Rendered, renderPage } from './documents.ts';
import { type Hits, noHits, type Page, scanPage } from './scanner.ts';
import type { ServerFacts } from './server.ts';

/** How long the server keeps the moment when nobody asks for it. */
const KEEP_ALIVE = '30m';
const PAGE_BYTES = 3 * 1024 * 1024;
/** A larger one is asked for again with fewer documents; a single document may take more. */
const PAGE_BYTES_MAX = 16 * 1024 * 1024;
const DOCUMENT_BYTES_MAX = 128 * 1024 * 1024;
const PAGE_DOCUMENTS_FIRST = 500;
/** Servers allow 10 000 unless told otherwise. */
const PAGE_DOCUMENTS_MAX = 10_000;

const openedSchema = z.object({
  pit_id: z.string().optional(),
  id: z.string().optional(),
  creation_time: z.number().optional(),
  _shards: z.object({ total: z.number(), failed: z.number() }).optional(),
});

/** An index as it was at one moment. Disposed, the server may forget it. */
export interface Moment extends AsyncDisposable {
  /** Of the server's clock, in milliseconds; null when it did not say. */
  readonly at: number | null;
  /** By our clock that never jumps. */
  readonly openedMs: number;
  /** All documents of a slice, in an order that stays as long as nothing is written; each page is borrowed. */
  read(ctx: Context, slice: Slice, operation: Operation, sum: DocumentSum): AsyncIterable<Rendered>;
  /** The ids alone. */
  ids(ctx: Context, slice: Slice): AsyncIterable<string[]>;
}
/** A shard, or a share of the documents. */
export interface Slice {
  readonly id: number;
  readonly of: number;
}

export interface MomentOptions {
  readonly index: string;
  readonly resultWindow: number;
}

export async function openMoment(
  ctx: Context,
  client: Client,
  server: ServerFacts,
  { index, resultWindow }: MomentOptions,
): Promise<Moment> {
  const path = `/${encodeURIComponent(index)}${momentPath(server, KEEP_ALIVE)}`;
  const opened = await client.ask(ctx, `holding ${index}`, { method: 'POST', path }, openedSchema);
  let id = opened.pit_id ?? opened.id ?? '';
  const moment: Moment = {
    at: opened.creation_time ?? null,
    openedMs: ctx.monotonicMs(),
    async *read(outer, slice, operation, sum) {
      const rendering = { operation, sum, memory: reusedMemory(PAGE_BYTES_MAX) };
      for await (const { page, body } of pages(outer, slice, true)) yield renderPage(body, page, rendering);
    },
    async *ids(outer, slice) {
      for await (const { page, body } of pages(outer, slice, false)) yield idsOf(body, page);
    },
    async [Symbol.asyncDispose]() {
      await closeMoment(ctx, client, server, id);
    },
  };
  await using undo = new AsyncDisposableStack();
  undo.use(moment);
  if ((opened._shards?.failed ?? 0) > 0) throw incomplete(client.where, index);
  undo.move();
  return moment;

  async function* pages(outer: Context, slice: Slice, source: boolean): AsyncIterable<Fetched> {
    const stop = new AbortController();
    const inner = withSignal(outer, stop.signal);
    let size = Math.min(PAGE_DOCUMENTS_FIRST, resultWindow);
    let [memory, other] = [pageMemory(), pageMemory()];
    let next: Promise<Fetched> | null = fetchPage(inner, { after: null, size, slice, source, memory });
    try {
      while (next) {
        const fetched: Fetched = await next;
        const { page, body, size: asked } = fetched;
        next = null;
        if (page.hits.count === asked && page.lastSort !== null) {
          size = nextSize(asked, body.length, resultWindow);
          [memory, other] = [other, memory];
          next = fetchPage(inner, { after: page.lastSort, size, slice, source, memory });
          next.catch(() => {}); // thrown when its turn comes
        }
        if (page.hits.count > 0) yield fetched;
      }
    } finally {
      stop.abort();
      await next?.catch(() => {});
    }
  }

  async function fetchPage(inner: Context, wanted: Wanted): Promise<Fetched> {
    let { size } = wanted;
    for (;;) {
      try {
        const bytesMax = size === 1 ? DOCUMENT_BYTES_MAX : PAGE_BYTES_MAX;
        const request = { body: searchBody(server, id, { ...wanted, size }), bytesMax, memory: wanted.memory.body };
        const body = await askForPage(inner, client, index, request);
        const page = scanPage(body, wanted.memory.hits);
        if (page.timedOut || page.failedShards > 0) throw incomplete(client.where, index);
        id = page.pit ?? id;
        return { page, body, size };
      } catch (error) {
        if (!isFailure(error, 'value-too-large') || size === 1) throw error;
        size = Math.max(1, size >> 3);
      }
    }
  }
}

/** Behind the name of an index. */
export function momentPath({ kind }: ServerFacts, keepAlive: string): string {
  return `${kind === 'opensearch' ? '/_search/point_in_time' : '/_pit'}?keep_alive=${keepAlive}`;
}

/** Of an answer to who asked for one and does not want it. */
export async function forgetMoment(ctx: Context, client: Client, server: ServerFacts, answer: Buffer): Promise<void> {
  const { data } = openedSchema.safeParse(jsonOf(answer));
  const id = data?.pit_id ?? data?.id;
  if (id !== undefined) await closeMoment(ctx, client, server, id);
}

interface Wanted {
  readonly after: string | null;
  readonly size: number;
  readonly slice: Slice;
  /** Documents, or their ids alone. */
  readonly source: boolean;
  readonly memory: PageMemory;
}
/** Of a page that is worked on, or of the next one, which comes meanwhile. */
interface PageMemory {
  readonly body: ReusedMemory;
  readonly hits: Hits;
}
function pageMemory(): PageMemory {
  return { body: reusedMemory(PAGE_BYTES_MAX), hits: noHits() };
}
interface Fetched {
  readonly page: Page;
  readonly body: Buffer;
  readonly size: number;
}

async function askForPage(
  ctx: Context,
  client: Client,
  index: string,
  request: Pick<Request, 'body' | 'bytesMax' | 'memory'>,
): Promise<Buffer> {
  const path = '/_search?allow_partial_search_results=false';
  const reply = await client.send(ctx, { method: 'POST', path, ...request });
  if (reply.status === 200) return reply.body;
  throw client.refusal(`reading ${index}`, reply);
}

/**
 * The order of storage is the cheapest. OpenSearch 2 numbers documents within a shard only, so that each of its slices
 * is a shard; Elasticsearch numbers them over all shards.
 */
function searchBody({ kind }: ServerFacts, id: string, { after, size, slice, source }: Wanted): string {
  return JSON.stringify({
    size,
    version: true,
    track_total_hits: false,
    ...(!source && { _source: false }),
    pit: { id, keep_alive: KEEP_ALIVE },
    ...(slice.of > 1 && { slice: { id: slice.id, max: slice.of } }),
    sort: [kind === 'opensearch' ? '_doc' : '_shard_doc'],
    ...(after !== null && { search_after: JSON.parse(after) }),
  });
}

function nextSize(asked: number, bytes: number, resultWindow: number): number {
  const fits = Math.round((asked * PAGE_BYTES) / Math.max(1, bytes));
  return Math.max(1, Math.min(fits, asked * 4, resultWindow, PAGE_DOCUMENTS_MAX));
}

/** The server forgets it in time, if it is not there to be told. */
async function closeMoment(ctx: Context, client: Client, { kind }: ServerFacts, id: string): Promise<void> {
  const [path, body] = kind === 'opensearch' ? ['/_search/point_in_time', { pit_id: [id] }] : ['/_pit', { id }];
  const patient = outliving(ctx, 10_000);
  await client.send(patient, { method: 'DELETE', path, body: JSON.stringify(body), once: true }).catch((error) => {
    ctx.log.debug('a point in time was not closed', { reason: String(error) });
  });
}

function incomplete(where: string, index: string): Failure {
  return new Failure('source-damaged', `${where}: not all shards of ${index} answered`, {
    hint: 'look at _cluster/allocation/explain, or leave the index out by the setting indices',
  });
}

// What is in a bucket, in the order of keys (their bytes), the versions of a key from the oldest on. Of a large bucket
// with folders all but the beginning is listed in several places at a time.

import { Failure, isFailure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { sorter } from '../../core/sorter.ts';
import type { Client } from './client.ts';
import {
  firstOf,
  firstVersionOf,
  foldersOf,
  type Listed,
  objectPages,
  type Page,
  REPLACED,
  versionPages,
} from './pages.ts';
import type { Scope } from './settings.ts';
import { keyOrder } from './text.ts';

/** Of the rest of a bucket: how many places, how many at a time, and how many pages of each are fetched ahead. */
const RANGES_MAX = 8;
const RANGES_PARALLEL = 4;
const PAGES_AHEAD = 3;
/** Objects that are listed page after page: MinIO reads thousands in vain for each place where a listing begins. */
const IN_A_ROW_MAX = 100_000;
/** Of one object in a list, beside its key. */
const LISTED_CHARS = 180;
/** Folders within folders that are looked at for some that stand side by side. */
const DEPTH_MAX = 8;
/** Others walk all that comes before to begin in the middle, or have an order of their own. */
const IN_RANGES = /minio|amazons3/i;

/** Everything in the scope, some at a time; all versions of a key come together. */
export async function* listed(
  ctx: Context,
  client: Client,
  scope: Scope,
  inARowMax = IN_A_ROW_MAX,
): AsyncIterable<Page> {
  const { exclude, only } = scope;
  for await (const page of ordered(ctx, client, scope, pagesOf(ctx, client, scope, inARowMax))) {
    if (exclude.length === 0 && !only) yield page;
    else yield page.filter(({ key }) => (only?.(key) ?? true) && !exclude.some((prefix) => key.startsWith(prefix)));
  }
}

/** Anything in the scope; undefined when there is nothing. */
export async function firstIn(ctx: Context, client: Client, scope: Scope): Promise<Listed | undefined> {
  if (scope.exclude.length === 0 && !scope.only)
    return await (scope.versions ? firstVersionOf : firstOf)(ctx, client, scope);
  for await (const [first] of listed(ctx, client, scope)) if (first) return first;
  return undefined;
}

async function* pagesOf(ctx: Context, client: Client, scope: Scope, inARowMax: number): AsyncIterable<Page> {
  let [count, from] = [0, ''];
  let begins: readonly string[] | undefined;
  for await (const page of rangesInTurn(ctx, client, scope, [''])) {
    yield page;
    count += page.length;
    from = page.at(-1)?.key ?? from;
    if (begins || count < inARowMax) continue;
    begins = (await beginsOf(ctx, client, scope)).filter((begin) => keyOrder(begin, from) > 0);
    if (begins.length > 0) break;
  }
  if (begins && begins.length > 0) yield* rangesInTurn(ctx, client, scope, [from, ...begins]);
}

/** Keys after which a range begins, in order, without the first. */
async function beginsOf(ctx: Context, client: Client, { bucket, prefix }: Scope): Promise<readonly string[]> {
  let within = prefix;
  if (client.server() !== '' && !IN_RANGES.test(client.server())) return [];
  for (let depth = 0; depth < DEPTH_MAX; depth++) {
    const { folders, objects } = await foldersOf(ctx, client, bucket, within).catch(unlessDenied);
    if (!IN_RANGES.test(client.server())) return [];
    const [only] = folders;
    if (folders.length === 0 || only === undefined) return [];
    if (folders.length === 1 && objects === 0 && only.length > within.length) {
      within = only;
      continue;
    }
    // 'a' comes before all of 'a/', and whatever is between them belongs to the range as well.
    const names = folders.map((folder) => folder.slice(0, -1)).sort(keyOrder);
    const step = Math.ceil(names.length / RANGES_MAX);
    return names.filter((name, i) => i > 0 && i % step === 0 && name !== '' && keyOrder(name, prefix) > 0);
  }
  return [];
}

/** One range after the other, while the next ones are on their way. Each begins after a key, or after ''. */
async function* rangesInTurn(ctx: Context, client: Client, scope: Scope, all: readonly string[]): AsyncIterable<Page> {
  const stop = new AbortController();
  const within = { ...ctx, signal: AbortSignal.any([ctx.signal, stop.signal]) };
  const running: AsyncIterable<Page>[] = [];
  try {
    for (let at = 0; at < all.length; at++) {
      while (running.length < Math.min(all.length, at + RANGES_PARALLEL)) {
        const next = running.length;
        running.push(ahead(rangeOf(within, client, scope, all[next] ?? '', all[next + 1])));
      }
      yield* running[at] ?? [];
    }
  } finally {
    stop.abort();
  }
}

/** Keys after `after`, up to `end` and with it. */
async function* rangeOf(
  ctx: Context,
  client: Client,
  scope: Scope,
  after: string,
  end: string | undefined,
): AsyncIterable<Page> {
  const pages = scope.versions ? versionPages(ctx, client, scope, after) : objectPages(ctx, client, scope, after);
  for await (const page of pages) {
    const last = page.at(-1);
    if (end === undefined || !last || keyOrder(last.key, end) <= 0) yield page;
    else return yield page.filter(({ key }) => keyOrder(key, end) <= 0);
  }
}

/** Some pages are asked for before they are wanted, from now on. */
function ahead(pages: AsyncIterable<Page>): AsyncIterable<Page> {
  const iterator = pages[Symbol.asyncIterator]();
  const next = (): Promise<IteratorResult<Page>> => {
    const page = iterator.next();
    page.catch(() => undefined); // thrown below when its turn comes
    return page;
  };
  const held = Array.from({ length: PAGES_AHEAD }, next);
  async function* inOrder(): AsyncIterable<Page> {
    for (;;) {
      const page = await held.shift();
      if (!page || page.done) return;
      held.push(next());
      yield page.value;
    }
  }
  return inOrder();
}

function unlessDenied(error: unknown): { folders: readonly string[]; objects: number } {
  if (isFailure(error, 'denied')) return { folders: [], objects: 0 }; // who may list versions only
  throw error;
}

/** Checks the order, and makes it where it is known that a server has another: SeaweedFS lists folder by folder. */
async function* ordered(
  ctx: Context,
  client: Client,
  { bucket }: Scope,
  pages: AsyncIterable<Page>,
): AsyncIterable<Page> {
  const iterator = pages[Symbol.asyncIterator]();
  const first = await iterator.next();
  const rest = { [Symbol.asyncIterator]: () => iterator };
  if (/seaweedfs/i.test(client.server())) {
    if (!first.done) yield* sortedPages(ctx, first.value, rest);
    return;
  }
  let before = '';
  const check = (page: Page): Page => {
    for (const { key } of page) {
      const late = before !== '' && key !== before && keyOrder(key, before) < 0;
      // Some servers sort by bytes that they then can't say.
      if (late && !key.includes(REPLACED)) throw outOfOrder(client, bucket, key, before);
      if (!late) before = key;
    }
    return page;
  };
  if (!first.done) yield check(first.value);
  for await (const page of rest) yield check(page);
}

async function* sortedPages(ctx: Context, first: Page, rest: AsyncIterable<Page>): AsyncIterable<Page> {
  let at = 0;
  // Versions of one key keep their order among themselves.
  await using pages = sorter<Listed & { at: number }>(ctx.scratch, 'a listing', {
    order: (a, b) => keyOrder(a.key, b.key) || a.at - b.at,
    lineOf: (item) => JSON.stringify(item),
    itemOf: (line) => JSON.parse(line) as Listed & { at: number }, // a line of our own
    charsOf: ({ key }) => key.length + LISTED_CHARS,
  });
  const add = (page: Page): Promise<void> => pages.add(page.map((each) => ({ ...each, at: at++ })));
  await add(first);
  for await (const page of rest) await add(page);
  yield* pages.sorted();
}

function outOfOrder({ where }: Client, bucket: string, key: string, before: string): Failure {
  const what = `${where} lists ${JSON.stringify(key)} of ${bucket} after ${JSON.stringify(before)}`;
  return new Failure('malformed', `${what}: this server does not list in the order of S3`);
}

// A restore: znodes in the order of the tree, then the counters of their parents, then ACLs.

import type { Chain } from '../../core/component.ts';
import type { Context, Restored, RestoreOptions, Source } from '../../core/model.ts';
import type { Client } from './client.ts';
import { type Entry, parentOf, sameAcl } from './entries.ts';
import { heldBelow, removeExtras } from './existing.ts';
import type { Job } from './job.ts';
import { type Mapping, mappingOf, targetOf } from './mapping.ts';
import {
  type Acl,
  CREATOR_ACL,
  counterOf,
  isMasked,
  OPEN_ACL,
  REFUSED,
  readAcl,
  readStat,
  request,
} from './protocol.ts';
import { restoredInventory, selectedOf } from './restored.ts';
import type { Settings } from './settings.ts';
import { dataOf, entriesOf, headOf } from './tree.ts';
import { isLarge, notEmpty, openWriter, refusedWords, tooLarge, type Writer } from './writer.ts';

/** How far a sequence counter is advanced, by as many pairs of a creation and a deletion. */
const ADVANCE_MAX = 100_000;
const PAIRS_TOGETHER = 500;
const PROGRESS_ITEMS = 1000;
const MASKED = 'its ACL was captured without the hashes of passwords: the users that it names are shut out';

export async function restore(
  ctx: Context,
  settings: Settings,
  { base: source }: Chain,
  options: RestoreOptions = {},
): Promise<Restored> {
  const head = await headOf(ctx, source);
  const mapping = mappingOf(head.root, settings.root, options);
  await readThrough(ctx, source, mapping);
  await using writer = await openWriter(ctx, settings);
  const over = options.replace ? 'replace' : options.delta ? 'delta' : 'nothing';
  const job: Job = { settings, source, writer, mapping, over, ours: settings.user ? CREATOR_ACL : OPEN_ACL };
  await refuseHeld(job);
  if (over === 'replace') await removeExtras(ctx, job);
  for (const { to } of mapping.moves) await makeParents(writer, to);
  const { bytes, ephemerals, found } = await putAll(ctx, job);
  await finish(ctx, job);
  const warnings: string[] = [];
  if (ephemerals > 0)
    warnings.push(`${ephemerals} ephemeral znodes are noted in the point and not made: their sessions ended`);
  if (found === 0) warnings.push('nothing in the point matches the selection');
  const restored = { bytes, method: 'create', warnings, missing: writer.missing() };
  if (mapping.whole) return restored;
  const selected = options.select ? { selected: selectedOf(mapping) } : {};
  return { ...restored, ...selected, inventory: async () => restoredInventory(settings, source, mapping) };
}

/** A tree or a part of it that is cut off or changed is refused before anything is made, or removed. */
async function readThrough(ctx: Context, source: Source, mapping: Mapping): Promise<void> {
  const read = new Set<string>();
  for await (const { path, content } of entriesOf(ctx, source)) {
    ctx.signal.throwIfAborted();
    if (content === null || content.whole !== null || read.has(content.sha256)) continue;
    if (targetOf(mapping, path) === null) continue;
    await dataOf(ctx, source, content);
    read.add(content.sha256);
  }
}

async function refuseHeld({ writer, mapping, over }: Job): Promise<void> {
  if (over !== 'nothing') return;
  for (const { to } of mapping.moves) {
    const held = await heldBelow(writer.client(), to);
    if (held !== null) throw notEmpty(writer.client().where, held);
  }
}

/** Those that lead to where a subtree goes, open to all as tools make them. */
async function makeParents(writer: Writer, to: string): Promise<void> {
  const path = parentOf(to);
  if (path === '/' || to === '/') return;
  await makeParents(writer, path);
  const client = writer.client();
  const { error } = await client.ask('create', request.create(path, null, OPEN_ACL));
  if (error !== 0 && error !== REFUSED.nodeExists)
    await client.call('create', path, request.create(path, null, OPEN_ACL));
}

async function putAll(ctx: Context, job: Job): Promise<{ bytes: number; ephemerals: number; found: number }> {
  const sums = { bytes: 0, ephemerals: 0, found: 0 };
  for await (const [entry, next] of withNext(entriesOf(ctx, job.source))) {
    ctx.signal.throwIfAborted();
    const path = targetOf(job.mapping, entry.path);
    if (path === null) continue;
    sums.found += 1;
    if (entry.type === 'ephemeral') sums.ephemerals += 1;
    if (entry.type === 'denied') job.writer.miss(path, 'it could not be read when it was captured');
    if (entry.type !== 'znode') continue;
    sums.bytes += entry.content?.bytes ?? 0;
    if (isMasked(entry.acl)) job.writer.miss(path, MASKED);
    await put(ctx, job, { entry, path, acl: isLeaf(entry, next) ? entry.acl : job.ours });
    if (sums.found % PROGRESS_ITEMS === 0) {
      ctx.progress({ task: 'zookeeper', phase: 'restore', items: sums.found, bytes: sums.bytes });
    }
  }
  await job.writer.settled();
  return sums;
}

interface Putting {
  readonly entry: Entry;
  readonly path: string;
  /** What it is made with. */
  readonly acl: readonly Acl[];
}

async function put(ctx: Context, job: Job, { entry, path, acl }: Putting): Promise<void> {
  const { writer } = job;
  const data = await dataOf(ctx, job.source, entry.content);
  const body = request.create(path, data, acl);
  const retries: Promise<void>[] = [];
  const answered = (error: number): void => {
    if (error === 0) return;
    if (error === REFUSED.nodeExists) retries.push(overwrite(job, path, entry, data));
    else if (error === REFUSED.invalidAcl) retries.push(putWithout(job, { entry, path, acl }, data));
    else writer.miss(path, refusedWords(writer.client(), 'create', path, error));
  };
  if (isLarge(body)) {
    const reply = await writer.sendLarge('create', body);
    if (reply) answered(reply.error);
    else writer.miss(path, tooLarge(data?.length ?? 0));
    await Promise.all(retries);
    return;
  }
  await writer.send('create', body, async ({ error }) => {
    answered(error);
    await Promise.all(retries);
  });
}

/** It is there already: the root, or what a restore in place finds. */
async function overwrite(
  { writer, mapping, over }: Job,
  path: string,
  entry: Entry,
  data: Buffer | null,
): Promise<void> {
  const client = writer.client();
  if (over === 'nothing' && !mapping.moves.some(({ to }) => to === path)) {
    writer.miss(path, 'somebody else made it meanwhile');
    return;
  }
  const got = await client.ask('getData', request.read(path));
  if (got.error === 0) {
    const there = got.body.bytes();
    const same = there === null || data === null ? there === data : there.equals(data);
    if (same) return;
  }
  const { error } = await client.ask('setData', request.setData(path, data));
  if (error !== 0) writer.miss(path, `its data was not set: ${refusedWords(client, 'setData', entry.path, error)}`);
}

/** A server that does not know a scheme gets the data all the same, shut to others. */
async function putWithout({ writer, ours }: Job, { entry, path }: Putting, data: Buffer | null): Promise<void> {
  const { error } = await writer.client().ask('create', request.create(path, data, ours));
  if (error !== 0) writer.miss(path, refusedWords(writer.client(), 'create', path, error));
  else writer.miss(path, refusedAcl(entry));
}

function refusedAcl({ acl }: Entry): string {
  return `the server does not take its ACL (${acl.map(({ scheme }) => scheme).join(', ')}); its data is there`;
}

/** Counters and ACLs of what has or had children, and ACLs of what was there before. */
async function finish(ctx: Context, job: Job): Promise<void> {
  const { writer, mapping, over } = job;
  for await (const [entry, next] of withNext(entriesOf(ctx, job.source))) {
    ctx.signal.throwIfAborted();
    const path = targetOf(mapping, entry.path);
    if (path === null || entry.type !== 'znode') continue;
    const wasThere = over !== 'nothing' || mapping.moves.some(({ to }) => to === path);
    if (isLeaf(entry, next) && !wasThere) continue;
    if (entry.counter > 0) await advance(job, entry, path);
    if (wasThere) await setAclIfOther(job, entry, path);
    else if (!sameAcl(entry.acl, job.ours) || job.ours === CREATOR_ACL) await setAcl(job, entry, path);
  }
  await writer.settled();
}

async function setAclIfOther(job: Job, entry: Entry, path: string): Promise<void> {
  const reply = await job.writer.client().ask('getAcl', request.path(path));
  if (reply.error === REFUSED.noNode) return; // named already
  if (reply.error === 0 && sameAcl(readAcl(reply.body), entry.acl)) return;
  await setAcl(job, entry, path);
}

async function setAcl({ writer }: Job, entry: Entry, path: string): Promise<void> {
  await writer.send('setAcl', request.setAcl(path, entry.acl), ({ error }) => {
    if (error === REFUSED.invalidAcl) writer.miss(path, refusedAcl(entry));
    else if (error !== 0 && error !== REFUSED.noNode) {
      writer.miss(path, `its ACL was not set: ${refusedWords(writer.client(), 'setAcl', path, error)}`);
    }
  });
}

/** Makes the next sequential child of the znode get a number that none had before. */
async function advance({ writer, ours }: Job, { counter }: Entry, path: string): Promise<void> {
  const client: Client = writer.client();
  const reply = await client.ask('exists', request.read(path));
  if (reply.error !== 0) return; // named already
  const wanted = counter - counterOf(readStat(reply.body));
  for (let left = Math.min(wanted, ADVANCE_MAX); left > 0; left -= PAIRS_TOGETHER) {
    const child = `${path === '/' ? '' : path}/lifeboat-counts`;
    const pair = [
      { op: 'create', body: request.create(child, null, ours) },
      { op: 'delete', body: request.delete(child) },
    ] as const;
    const pairs = Array.from({ length: Math.min(left, PAIRS_TOGETHER) }, () => pair).flat();
    await writer.send('multi', request.multi(pairs), ({ error }) => {
      if (error !== 0) writer.miss(path, `its sequence counter: ${refusedWords(client, 'multi', path, error)}`);
    });
  }
  if (wanted <= ADVANCE_MAX) return;
  const short = wanted - ADVANCE_MAX;
  writer.miss(path, `its sequence counter is ${short} behind ${counter}: it is advanced by ${ADVANCE_MAX} at most`);
}

/** It never had children. */
function isLeaf(entry: Entry, next: Entry | undefined): boolean {
  return entry.counter === 0 && (!next || parentOf(next.path) !== entry.path);
}

async function* withNext<T>(items: AsyncIterable<T>): AsyncIterable<[T, T | undefined]> {
  let before: { item: T } | null = null;
  for await (const item of items) {
    if (before) yield [before.item, item];
    before = { item };
  }
  if (before) yield [before.item, undefined];
}

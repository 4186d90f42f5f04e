// Looks at everything that restores depend on, and names all that is damaged: snapshots, indexes, packs, parts.

import { readAll } from '../../core/bytes.ts';
import { type ErrorCode, type Failure, isFailure, messageOf } from '../../core/errors.ts';
import { manifestJson } from '../../core/manifest.ts';
import type { Context, Finding, Verdict } from '../../core/model.ts';
import { gate, mapBounded } from '../../core/parallel.ts';
import type { CheckOptions } from '../../core/storage.ts';
import { getOwn, OWN } from './documents.ts';
import type { PackedBlob } from './index.ts';
import type { TreeNode } from './nodes.ts';
import { BLOB_BYTES_MAX, checkPack, openBlob, packKey, plainLength } from './pack.ts';
import { isPoint, pointIdOf, readManifest } from './points.ts';
import { CONFIG_KEY, type Repository } from './repository.ts';
import type { Snapshot } from './snapshots.ts';
import { DEPTH_MAX } from './source.ts';
import type { Folder } from './trees.ts';
import { indexedBytes, markDamaged, packSizes } from './unfit.ts';

/** One is proved while others are read, which takes longest where the store is far. */
const PACKS_AT_ONCE = 3;
const PACK_BYTES_MAX = 2 * BLOB_BYTES_MAX;
const SHARES = 100;

/** Says nothing of the data: it is neither whole nor damaged as far as anybody knows. */
const OUT_OF_REACH: readonly ErrorCode[] = ['archived', 'denied', 'unreachable', 'timeout'];

const HINT_PACK = 'run lifeboat backup, which writes again what the source still has, then lifeboat prune --apply';
/** Nothing writes over a point: stock restic takes a damaged one out of the way. */
function hintPoint({ id }: Snapshot): string {
  const otherwise = `restic forget ${id.slice(0, 8)}, then copy it from another store`;
  return `run lifeboat backup, then restic repair index; if neither heals it, ${otherwise}`;
}

/** What is known of the packs after they were looked at. */
interface Losses {
  /** Index entries whose bytes can't be had. */
  readonly entries: Set<number>;
  readonly findings: Finding[];
}

export async function* checkRepository(
  ctx: Context,
  repository: Repository,
  options: CheckOptions,
): AsyncIterable<Finding> {
  const { readable, unreadable } = await repository.snapshots.load(ctx);
  for (const [id, failure] of unreadable) {
    const hint = `its point is lost unless another store has it; delete snapshots/${id} to go on without it`;
    yield fail(`snapshot ${id} can be read`, failure.message, hint);
  }
  await repository.indexes.refresh(ctx);
  for (const [file, reason] of repository.indexes.setAside()) {
    yield fail(`index ${file} can be read`, `${reason}; the packs were read instead`, 'run lifeboat prune --apply');
  }
  const losses = await lookAtPacks(ctx, repository, options);
  yield* losses.findings;
  const clean = new Set<string>();
  for (const snapshot of readable) yield* confirmed(ctx, repository, snapshot, losses, clean);
  if (options.readData > 0) yield* checkRecords(ctx, repository);
}

async function lookAtPacks(ctx: Context, repository: Repository, options: CheckOptions): Promise<Losses> {
  const { blobs } = repository.indexes;
  const losses: Losses = { entries: new Set(), findings: [] };
  const sizes = await packSizes(ctx, repository.vault);
  const wanted = [...repository.indexes.packs()].filter(
    (pack) => sizes.get(pack) !== indexedBytes(blobs, pack) || isInShare(pack, options),
  );
  const bytesTotal = wanted.reduce((sum, pack) => sum + (sizes.get(pack) ?? 0), 0);
  const naming = gate(1); // who names what is lost has the whole pack in memory once more
  let bytes = 0;
  await mapBounded(wanted, PACKS_AT_ONCE, async (pack) => {
    try {
      if (!(await isWhole(ctx, repository, pack, sizes.get(pack))))
        await naming.run(() => nameLosses(ctx, repository, pack, losses));
    } catch (error) {
      losses.findings.push(await outOfReach(ctx, repository, `pack ${pack} is whole`, error));
    }
    bytes += sizes.get(pack) ?? 0;
    ctx.progress({ task: repository.url, phase: 'verify', bytes, bytesTotal });
  });
  return losses;
}

async function isWhole(
  ctx: Context,
  repository: Repository,
  pack: string,
  bytes: number | undefined,
): Promise<boolean> {
  if (bytes === undefined) return false;
  const { blobs, damages } = await (await repository.reader(ctx)).checkPack(ctx, pack, bytes);
  return damages.length === 0 && holdsWhatIsIndexed(repository, pack, blobs);
}

function holdsWhatIsIndexed({ indexes: { blobs } }: Repository, pack: string, held: readonly PackedBlob[]): boolean {
  const indexed = Array.from(blobs.entriesOf(pack), (entry) => ({ ...blobs.placeAt(entry), id: blobs.idAt(entry) }));
  indexed.sort((a, b) => a.offset - b.offset);
  let at = 0;
  for (const { tree, offset, length, uncompressedLength, id } of indexed) {
    while ((held[at]?.offset ?? offset) < offset) at += 1;
    const found = held[at];
    if (found?.offset !== offset || found.tree !== tree || found.length !== length) return false;
    if (found.uncompressedLength !== uncompressedLength || Buffer.compare(found.id, id) !== 0) return false;
  }
  return true;
}

async function nameLosses(ctx: Context, repository: Repository, pack: string, losses: Losses): Promise<void> {
  const { blobs } = repository.indexes;
  let damage = await damageOf(ctx, repository, pack);
  if (damage) damage = await damageOf(ctx, repository, pack); // a bad read may be a transient one
  if (!damage) return;
  await repository.indexes.refresh(ctx); // a prune beside this check takes packs away, out of the index first
  if (!repository.indexes.packs().has(pack)) return;
  for (const entry of damage.entries) losses.entries.add(entry);
  const count = `${damage.entries.length} of its ${[...blobs.entriesOf(pack)].length} blobs are lost`;
  const first = damage.entries[0];
  const blob = first === undefined ? '' : `, the first is ${Buffer.from(blobs.idAt(first)).toString('hex')}`;
  losses.findings.push(fail(`pack ${pack} is whole`, `${damage.reason}; ${count}${blob}`, HINT_PACK));
  blobs.forget(pack);
  if (damage.missing) return; // every backup sees that by itself
  try {
    await markDamaged(ctx, repository.vault, pack);
  } catch (error) {
    const detail = `the store does not take a note of it: ${messageOf(error)}`;
    losses.findings.push({ check: `pack ${pack} is written again`, verdict: 'unknown', detail });
  }
}

interface PackDamage {
  readonly reason: string;
  readonly missing: boolean;
  /** Index entries that can't be read. */
  readonly entries: readonly number[];
}

async function damageOf(ctx: Context, repository: Repository, pack: string): Promise<PackDamage | undefined> {
  const { vault, indexes } = repository;
  const all = [...indexes.blobs.entriesOf(pack)];
  let data: Buffer;
  try {
    data = await readAll(vault.bucket.get(ctx, packKey(pack)), PACK_BYTES_MAX);
  } catch (error) {
    if (isFailure(error, 'missing')) return { reason: 'it is missing', missing: true, entries: all };
    if (error instanceof RangeError) return { reason: 'it is too large to be one', missing: false, entries: all };
    throw error;
  }
  const { blobs, damages } = checkPack(vault.key, data, Buffer.from(pack, 'hex'));
  if (damages.length === 0 && holdsWhatIsIndexed(repository, pack, blobs)) return undefined;
  const entries = all.filter((entry) => !isReadable(vault.key, data, indexes.blobs.idAt(entry), entry, indexes));
  return { reason: damages[0]?.reason ?? 'an index says that it holds what it does not', missing: false, entries };
}

function isReadable(
  key: Repository['vault']['key'],
  data: Buffer,
  id: Uint8Array,
  entry: number,
  { blobs }: Repository['indexes'],
): boolean {
  const { offset, length, uncompressedLength } = blobs.placeAt(entry);
  try {
    return openBlob(key, data.subarray(offset, offset + length), { id, uncompressedLength }, () => true);
  } catch (error) {
    if (isFailure(error, 'checksum')) return false;
    throw error;
  }
}

/** A point may be removed while it is looked at, and its data moved: damage counts when a fresh index has it too. */
async function* confirmed(...args: Parameters<typeof checkSnapshot>): AsyncIterable<Finding> {
  const [ctx, { indexes, snapshots }, snapshot] = args;
  const { done } = await checkSnapshot(...args)
    [Symbol.asyncIterator]()
    .next();
  if (done) return;
  await indexes.refresh(ctx);
  const { readable } = await snapshots.load(ctx);
  if (readable.some(({ id }) => id === snapshot.id)) yield* checkSnapshot(...args);
}

async function* checkSnapshot(
  ctx: Context,
  repository: Repository,
  snapshot: Snapshot,
  losses: Losses,
  clean: Set<string>,
): AsyncIterable<Finding> {
  const id = pointIdOf(snapshot);
  const check = id === null ? `snapshot ${snapshot.id} is whole` : `point ${id} is whole`;
  for await (const { path, reason, verdict } of damagedBelow(ctx, repository, snapshot.tree, '', losses, clean, 0)) {
    if (verdict === 'fail') yield fail(check, `${path}: ${reason}`, hintPoint(snapshot));
    else yield { check, verdict, detail: `${path}: ${reason}` };
  }
  if (isPoint(snapshot)) yield* checkManifest(ctx, repository, snapshot, check);
}

/** The manifest of the tree is the truth: the copy in the snapshot and the folders have to agree with it. */
async function* checkManifest(
  ctx: Context,
  repository: Repository,
  snapshot: Snapshot,
  check: string,
): AsyncIterable<Finding> {
  try {
    const point = await readManifest(ctx, repository, snapshot);
    const json = JSON.stringify(manifestJson(point));
    if (snapshot.summary && JSON.stringify(manifestJson(snapshot.summary)) !== json) {
      yield fail(check, 'its manifest.json is not the manifest that the list shows', hintPoint(snapshot));
    }
    const root = await repository.trees.load(ctx, snapshot.tree);
    for (const [component, { error }] of Object.entries(point.components)) {
      if (error === null && !root.folder(component))
        yield fail(check, `component ${component} is gone`, hintPoint(snapshot));
    }
  } catch (error) {
    if (isDamage(error)) yield fail(check, `manifest.json: ${error.message}`, hintPoint(snapshot));
    else yield await outOfReach(ctx, repository, check, error);
  }
}

interface Loss {
  readonly reason: string;
  readonly verdict: Exclude<Verdict, 'pass'>;
}
interface Damaged extends Loss {
  readonly path: string;
}

/** All files below a tree that can't be read. A tree that was found whole is not walked again. */
async function* damagedBelow(
  ctx: Context,
  repository: Repository,
  tree: Buffer,
  path: string,
  losses: Losses,
  clean: Set<string>,
  depth: number,
): AsyncIterable<Damaged> {
  ctx.signal.throwIfAborted();
  const key = tree.toString('latin1');
  if (clean.has(key)) return;
  const reason = depth > DEPTH_MAX ? 'too many folders' : lossOf(repository, tree, true, losses);
  const folder: Folder | Loss = reason ? { reason, verdict: 'fail' } : await loadFolder(ctx, repository, tree);
  if ('reason' in folder) {
    yield { path: `every part below ${path === '' ? 'it' : path}`, ...folder };
    return;
  }
  let damages = 0;
  for (const { name, node } of folder.entries) {
    const below = `${path}${name}`;
    if (node.subtree) {
      for await (const damaged of damagedBelow(ctx, repository, node.subtree, `${below}/`, losses, clean, depth + 1)) {
        damages += 1;
        yield damaged;
      }
    }
    const lost = lossOfFile(repository, node, losses);
    if (!lost) continue;
    damages += 1;
    yield { path: below, reason: lost, verdict: 'fail' };
  }
  if (damages === 0) clean.add(key);
}

async function loadFolder(ctx: Context, repository: Repository, tree: Buffer): Promise<Folder | Loss> {
  try {
    return await repository.trees.load(ctx, tree);
  } catch (error) {
    if (isDamage(error)) return { reason: error.message, verdict: 'fail' };
    const { detail, verdict } = await outOfReach(ctx, repository, `tree ${tree.toString('hex')} can be read`, error);
    return { reason: detail, verdict };
  }
}

function lossOfFile(repository: Repository, node: TreeNode, losses: Losses): string | null {
  if (node.type !== 'file') return null;
  const { blobs } = repository.indexes;
  let bytes = 0;
  for (let at = 0; at < node.content.length; at += 32) {
    const id = node.content.subarray(at, at + 32);
    const entry = blobs.entryOf(id, false);
    if (entry < 0 || losses.entries.has(entry)) return lossOf(repository, id, false, losses);
    bytes += plainLength(blobs.placeAt(entry));
  }
  return bytes === node.bytes ? null : `its blobs have ${bytes} bytes, and it should have ${node.bytes}`;
}

function lossOf({ indexes: { blobs } }: Repository, id: Buffer, tree: boolean, losses: Losses): string | null {
  const entry = blobs.entryOf(id, tree);
  const kind = tree ? 'tree' : 'blob';
  if (entry < 0) return `${kind} ${id.toString('hex')} is in no index`;
  return losses.entries.has(entry)
    ? `${kind} ${id.toString('hex')} of pack ${blobs.placeAt(entry).pack} is lost`
    : null;
}

async function* checkRecords(ctx: Context, repository: Repository): AsyncIterable<Finding> {
  const { vault } = repository;
  for await (const key of recordKeys(ctx, repository)) {
    try {
      await getOwn(ctx, vault, key);
    } catch (error) {
      if (isFailure(error, 'missing')) continue; // deleted since it was listed
      if (isDamage(error)) yield fail(`${key} can be read`, error.message, 'delete it if it is not needed');
      else yield await outOfReach(ctx, repository, `${key} can be read`, error);
    }
  }
}

/** Journals have a check of their own. */
async function* recordKeys(ctx: Context, { vault: { bucket } }: Repository): AsyncIterable<string> {
  for await (const { key } of bucket.files(ctx, OWN)) if (key.endsWith('.json')) yield key;
  for await (const folder of bucket.folders(ctx, OWN)) {
    if (folder === 'journal/') continue;
    for await (const { key } of bucket.list(ctx, OWN + folder)) if (key.endsWith('.json')) yield key;
  }
}

function isInShare(pack: string, { readData, from = 0 }: CheckOptions): boolean {
  const share = Number.parseInt(pack.slice(0, 8), 16) % SHARES;
  return (share - from + SHARES) % SHARES < readData * SHARES;
}

function isDamage(error: unknown): error is Failure {
  return isFailure(error, 'checksum') || isFailure(error, 'missing') || isFailure(error, 'malformed');
}

/** Throws what is no such failure, and when the store does not answer at all: the rest would only be waited for. */
async function outOfReach(
  ctx: Context,
  { vault }: Repository,
  check: string,
  error: unknown,
): Promise<Finding & { readonly verdict: 'unknown' }> {
  if (!isFailure(error) || !OUT_OF_REACH.includes(error.code)) throw error;
  if (error.code !== 'archived') await vault.bucket.head(ctx, CONFIG_KEY);
  return { check, verdict: 'unknown', detail: error.message, ...(error.hint ? { hint: error.hint } : {}) };
}

function fail(check: string, detail: string, hint: string): Finding {
  return { check, verdict: 'fail', detail, hint };
}

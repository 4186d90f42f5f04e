// Files that older scripts left here, described as recovery points. Each is read once, to its end: what can't be
// unpacked, or is not whole, is refused now and not at three in the morning. No file is changed.

import { createHash } from 'node:crypto';
import { z } from 'zod';
import { byteOrder, bytesOf, measured } from '../../core/bytes.ts';
import type { Recognised } from '../../core/driver.ts';
import { type ErrorCode, Failure, messageOf } from '../../core/errors.ts';
import { idOf, isPointId, timeOfId } from '../../core/manifest.ts';
import type { Context, Finding, Verdict } from '../../core/model.ts';
import type { CapturedComponent, RecoveryPoint } from '../../core/point.ts';
import type { Adopted, AdoptOptions, Bucket } from '../../core/storage.ts';
import { adoptFolder, claimFolder, type FolderClaim } from './adopt-folder.ts';
import type { Entry } from './entries.ts';
import { gunzipped } from './gzip.ts';
import { importedComponent } from './imported.ts';
import { datedManifestKey, indexKey, OWN, wallClockOf } from './keys.ts';
import { contentOf, ownPlaceOf, type Proof, renderManifest } from './manifest.ts';
import { filesOfOthers } from './points.ts';
import { refuseCleared } from './reclaim.ts';
import type { Layout } from './settings.ts';

const GZIP_END = '.gz';
const DAY_MS = 86_400_000;

const oldManifestSchema = z.object({
  version: z.string().nullish(),
  components: z.record(z.string(), z.object({ file: z.string(), size: z.number() })).default({}),
});
type OldManifest = z.output<typeof oldManifestSchema>;

interface Claim extends Recognised {
  readonly component: string;
}
/** A file whose name a driver knows. */
interface Found extends Claim {
  readonly key: string;
  readonly bytes: number;
}
/** What is wrong with a file, by what reading it failed with; anything else ends the import. */
const UNFIT: Partial<Record<ErrorCode, Verdict>> = {
  checksum: 'fail',
  malformed: 'fail',
  archived: 'unknown',
  'version-mismatch': 'unknown',
};

/** One point after another. `isTaken`: there is a point of that id, or a draft. */
export async function* adopt(
  ctx: Context,
  bucket: Bucket,
  layout: Layout,
  options: AdoptOptions,
  isTaken: (id: string) => Promise<boolean>,
): AsyncIterable<Adopted> {
  const moments =
    layout === 'dated' ? await datedFolders(ctx, bucket, options) : await datedNames(ctx, bucket, options);
  const ids = [...moments.keys()].filter((id) => isWanted(id, options)).sort();
  let owned = 0;
  for (const id of options.newestFirst ? ids.reverse() : ids) {
    if (await isTaken(id)) continue;
    const moment = await moments.get(id)?.();
    if (!moment) continue;
    const others = await filesOfOthers(ctx, bucket, layout, id);
    const found = moment.found.filter(({ key }) => !others.has(key));
    const folders = moment.folders.filter(({ folder }) => !others.has(folder));
    owned += moment.found.length - found.length + moment.folders.length - folders.length;
    if (found.length + folders.length + moment.unclear.length === 0) continue;
    const adopted = await adoptOne(ctx, bucket, options, { ...moment, found, folders });
    if (adopted.point || adopted.findings.length > 0) yield adopted; // else it is of components that are not meant
  }
  // They were imported with another time zone, or are our own.
  if (owned > 0)
    ctx.log.warn('files that other points have already were left out', { store: bucket.url, files: owned });
}

/** A folder may have any name. */
function isMoment(id: string): boolean {
  return isPointId(id) && !Number.isNaN(timeOfId(id).getTime());
}

function isWanted(id: string, { id: only, after }: AdoptOptions): boolean {
  return (only === undefined || id === only) && (after === undefined || id > after);
}

/** Id → its files. Each folder is listed when it is needed. */
type Moments = ReadonlyMap<string, () => Promise<Moment>>;

interface Moment {
  readonly id: string;
  readonly found: readonly Found[];
  /** Of components with many parts. */
  readonly folders: readonly FolderClaim[];
  /** Files that several components claim. */
  readonly unclear: readonly Finding[];
}

/** 'PREFIX/2024-02-23-020000/…': the folder is the moment, in UTC. */
async function datedFolders(ctx: Context, bucket: Bucket, options: AdoptOptions): Promise<Moments> {
  const moments = new Map<string, () => Promise<Moment>>();
  for await (const folder of bucket.folders(ctx, '')) {
    const id = folder.slice(0, -1);
    if (!isMoment(id)) continue;
    moments.set(id, async () => {
      const moment = newMoment(id);
      for await (const { key, bytes } of bucket.files(ctx, folder)) {
        sortIn(moment, key, bytes, recognised(key, options));
      }
      for await (const name of bucket.folders(ctx, folder)) {
        const claim = await claimFolder(ctx, bucket, options.components, folder + name);
        if (claim) moment.folders.push(claim);
      }
      return moment;
    });
  }
  return moments;
}

/** 'PREFIX/postgres/postgres_DB_20260128_120000.sql.gz': the moment is in the name, in some time zone. */
async function datedNames(ctx: Context, bucket: Bucket, options: AdoptOptions): Promise<Moments> {
  const moments = new Map<string, OpenMoment>();
  const instant = zonedClock(options.timeZone);
  function momentOf(id: string): OpenMoment {
    const moment = moments.get(id) ?? newMoment(id);
    moments.set(id, moment);
    return moment;
  }
  for await (const folder of bucket.folders(ctx, '')) {
    if (folder === OWN) continue;
    for await (const { key, bytes } of bucket.files(ctx, folder)) {
      const claims = recognised(key, options);
      const id = idOfStamp(claims.find(({ stamp }) => stamp !== null)?.stamp ?? null, instant);
      if (id !== null) sortIn(momentOf(id), key, bytes, claims);
    }
    for await (const name of bucket.folders(ctx, folder)) {
      const claim = await claimFolder(ctx, bucket, options.components, folder + name);
      const id = claim && idOfStamp(claim.stamp, claim.own ? (utc) => utc : instant);
      if (claim && id !== null) momentOf(id).folders.push(claim);
    }
  }
  return new Map([...moments].map(([id, moment]) => [id, async () => moment]));
}

interface OpenMoment extends Moment {
  readonly found: Found[];
  readonly folders: FolderClaim[];
  readonly unclear: Finding[];
}
function newMoment(id: string): OpenMoment {
  return { id, found: [], folders: [], unclear: [] };
}

function recognised(key: string, { components }: AdoptOptions): readonly Claim[] {
  const fileName = key.slice(key.lastIndexOf('/') + 1);
  return components.flatMap(({ name, recognise }) => {
    const claim = recognise?.(fileName);
    return claim ? [{ component: name, ...claim }] : [];
  });
}

function sortIn(moment: OpenMoment, key: string, bytes: number, claims: readonly Claim[]): void {
  const [claim, ...others] = claims;
  if (!claim) return;
  if (others.length === 0) moment.found.push({ ...claim, key, bytes });
  else {
    const names = claims.map(({ component }) => component).join(' and ');
    const hint = 'name the component that it belongs to';
    moment.unclear.push({ check: `${key} can be told`, verdict: 'unknown', detail: `it fits ${names}`, hint });
  }
}

async function adoptOne(ctx: Context, bucket: Bucket, options: AdoptOptions, moment: Moment): Promise<Adopted> {
  const { id, found } = moment;
  const { components } = options;
  const old = await oldManifest(ctx, bucket, id);
  const findings = [...moment.unclear];
  const entries = new Map<string, Entry[]>();
  for (const file of found) {
    ctx.progress({ task: id, phase: 'import' });
    const read = await readFile(ctx, bucket, file, old);
    const others = entries.get(file.component) ?? [];
    const same = others.find(({ name }) => name === file.part);
    if (!('key' in read)) findings.push(read);
    else if (same)
      findings.push({ check: `${file.key} can be told`, verdict: 'unknown', detail: `${same.key} is the same part` });
    else entries.set(file.component, [...others, read]);
  }
  const proofs = new Map<string, Proof>();
  const captured = new Map<string, CapturedComponent>();
  for (const [component, parts] of entries) {
    proofs.set(component, await putIndex(ctx, bucket, id, component, parts));
    const bytes = parts.reduce((sum, part) => sum + part.bytes, 0);
    const { kind = '' } = components.find(({ name }) => name === component) ?? {};
    captured.set(component, importedComponent(kind, { count: parts.length, bytes }));
  }
  const files = found.map(({ key }) => key);
  for (const claim of moment.folders) {
    const read = await adoptFolder(ctx, bucket, { id, claim, components, taken: new Set(captured.keys()) });
    if (read === null) continue;
    files.push(claim.folder);
    findings.push(...read.findings);
    if (!read.adopted) continue;
    proofs.set(read.adopted.component, read.adopted.proof);
    captured.set(read.adopted.component, read.adopted.captured);
  }
  if (captured.size === 0) return { id, point: null, files, findings };
  const version = old?.version ?? null;
  const point = describe(id, options, { version, captured, whole: findings.length === 0 });
  await putManifest(ctx, bucket, point, proofs);
  return { id, point, files, findings };
}

/** Its index entry, or what is wrong with it. */
async function readFile(
  ctx: Context,
  bucket: Bucket,
  { key, bytes, part, checked }: Found,
  old: OldManifest | null,
): Promise<Entry | Finding> {
  const check = `${key} is whole`;
  const promised = Object.values(old?.components ?? {}).find(({ file }) => key.endsWith(`/${file}`))?.size;
  if (promised !== undefined && promised !== bytes) {
    return { check, verdict: 'fail', detail: `it has ${bytes} bytes and its manifest says ${promised}` };
  }
  const gzip = key.endsWith(GZIP_END);
  const stored = measured(bucket.get(ctx, key));
  const content = gzip ? measured(gunzipped(stored.body, key)) : null;
  const { body } = content ?? stored;
  try {
    for await (const _ of checked ? checked(ctx, body) : body) ctx.signal.throwIfAborted();
  } catch (error) {
    const verdict = error instanceof Failure ? UNFIT[error.code] : undefined;
    if (!verdict) throw error;
    return { check, verdict, detail: messageOf(error) };
  }
  const sum = stored.sum();
  if (sum.bytes === 0) return { check, verdict: 'fail', detail: 'it is empty' };
  return { ...(content?.sum() ?? sum), name: part, key, gzip, stored: sum };
}

async function oldManifest(ctx: Context, bucket: Bucket, id: string): Promise<OldManifest | null> {
  const text = await contentOf(ctx, bucket, datedManifestKey(id));
  if (!text) return null;
  try {
    const parsed = oldManifestSchema.safeParse(JSON.parse(text.toString('utf8')));
    return parsed.success ? parsed.data : null;
  } catch {
    return null; // it is not ours, and nothing depends on it
  }
}

async function putIndex(
  ctx: Context,
  bucket: Bucket,
  id: string,
  component: string,
  entries: readonly Entry[],
): Promise<Proof> {
  const sorted = entries.toSorted((a, b) => byteOrder(a.name, b.name));
  const list = measured(bytesOf(sorted.map((entry) => `${JSON.stringify(entry)}\n`).join('')));
  await bucket.put(ctx, indexKey(id, component), list.body);
  return {
    index: list.sum(),
    files: sorted.map(({ key, stored }) => ({ file: key, size: stored.bytes })),
    folder: null,
  };
}

async function putManifest(
  ctx: Context,
  bucket: Bucket,
  point: RecoveryPoint,
  proofs: ReadonlyMap<string, Proof>,
): Promise<void> {
  const place = ownPlaceOf(point.id);
  const manifest = renderManifest(place, point, proofs);
  const sha256 = createHash('sha256').update(manifest).digest('hex');
  await bucket.put(ctx, place.digest, Buffer.from(`${sha256}\n`));
  await refuseCleared(ctx, bucket, point.id);
  await bucket.put(ctx, place.manifest, manifest, { ifAbsent: true, contentType: 'application/json' });
}

function describe(
  id: string,
  { stack, plan }: AdoptOptions,
  {
    version,
    captured,
    whole,
  }: {
    readonly version: string | null;
    readonly captured: ReadonlyMap<string, CapturedComponent>;
    readonly whole: boolean;
  },
): RecoveryPoint {
  const at = timeOfId(id).toISOString();
  return {
    format: 1,
    id,
    stack,
    plan,
    startedAt: at,
    finishedAt: at,
    skewMs: 0,
    status: whole ? 'complete' : 'partial',
    version,
    missed: null,
    components: Object.fromEntries(captured),
  };
}

/** '20260128_120000' or '2026-01-28-120000' as the id of that moment in UTC; null when it is none. */
function idOfStamp(stamp: string | null, instant: (wallClock: Date) => Date): string | null {
  const wallClock = wallClockOf(stamp ?? '');
  return wallClock && idOf(instant(wallClock));
}

/**
 * Turns what a clock on the wall showed (written as if it were UTC) into the moment it showed it; the earlier of two.
 */
export function zonedClock(timeZone: string): (wallClock: Date) => Date {
  let format: Intl.DateTimeFormat;
  try {
    format = new Intl.DateTimeFormat('sv-SE', { timeZone, dateStyle: 'short', timeStyle: 'medium' });
  } catch (cause) {
    throw new Failure('settings-invalid', `${timeZone} is no time zone`, { cause, hint: "such as 'Europe/Madrid'" });
  }
  const offset = (at: number): number => Date.parse(`${format.format(at).replace(' ', 'T')}Z`) - at;
  return (wallClock) => {
    const wall = wallClock.getTime();
    // The offsets on either side of any change nearby; the larger one is the earlier moment.
    const offsets = [offset(wall - DAY_MS), offset(wall + DAY_MS)].sort((a, b) => b - a);
    const fits = offsets.find((each) => offset(wall - each) === each);
    return new Date(wall - (fits ?? offsets[1] ?? 0));
  };
}

// Markers: the object lifeboat/marker beneath the prefix, in the first of the buckets that the settings name.

import { Failure, isFailure } from '../../core/errors.ts';
import { type FoundMarker, type Marker, markerText, newestOf, readMarker } from '../../core/marker.ts';
import type { Context } from '../../core/model.ts';
import { mapBounded } from '../../core/parallel.ts';
import { scopesOf, settingOf } from './buckets.ts';
import { type Client, openClient } from './client.ts';
import type { Listed } from './pages.ts';
import type { Scope, Settings } from './settings.ts';
import { allVersions, deleteAll } from './target.ts';

const NAME = 'lifeboat/marker';
const MARKER_BYTES_MAX = 1024;

type Place = Pick<Scope, 'bucket' | 'prefix'>;

export async function mark(ctx: Context, settings: Settings, marked: Marker): Promise<void> {
  await using client = openClient(ctx, settings);
  const [first] = settings.scopes ?? (await scopesOf(ctx, client));
  if (!first) throw new Failure('missing', `${client.where} has no bucket to mark`);
  const key = keyOf(first);
  if (first.exclude.some((prefix) => key.startsWith(prefix))) {
    throw new Failure('settings-invalid', `s3: buckets: ${first.bucket}: exclude leaves out ${key}`, {
      hint: 'a marker that is not captured tells nothing: exclude less, or take markers from the component',
    });
  }
  await markerIn(ctx, client, first);
  await forgetOlder(ctx, client, first);
  const headers = { 'content-type': 'application/json' };
  const body = Buffer.from(markerText(marked));
  await granted(
    client.send(ctx, `writing ${first.bucket}/${key}`, { method: 'PUT', bucket: first.bucket, key, headers, body }),
    first,
  );
}

export async function marker(ctx: Context, settings: Settings): Promise<FoundMarker | null> {
  await using client = openClient(ctx, settings);
  const scopes = await scopesOf(ctx, client);
  const found = await mapBounded(scopes, settings.connections, (scope) => markerIn(ctx, client, scope));
  return newestOf(found.filter((each) => each !== null));
}

export async function unmark(ctx: Context, settings: Settings): Promise<readonly string[]> {
  await using client = openClient(ctx, settings);
  const removed: string[] = [];
  for (const scope of await scopesOf(ctx, client)) {
    const { bucket } = scope;
    const there = await markerIn(ctx, client, scope);
    const versions = await versionsOf(ctx, client, scope);
    const current = { key: keyOf(scope), version: null };
    await needDeleted(ctx, client, scope, versions.length > 0 ? versions : there ? [current] : []);
    const what = `object ${bucket}/${keyOf(scope)}`;
    if (versions.length > 1) removed.push(`${what}, ${versions.length} versions`);
    else if (versions.length + (there ? 1 : 0) > 0) removed.push(what);
  }
  return removed;
}

function keyOf({ prefix }: Place): string {
  return `${prefix}${NAME}`;
}

async function markerIn(ctx: Context, client: Client, scope: Place): Promise<FoundMarker | null> {
  const { bucket } = scope;
  const key = keyOf(scope);
  const request = { method: 'GET', bucket, key, headers: { range: `bytes=0-${MARKER_BYTES_MAX - 1}` } } as const;
  try {
    const { chunks } = await client.send(ctx, `reading ${bucket}/${key}`, request);
    return readMarker(Buffer.concat(chunks).toString('utf8'), `object ${bucket}/${key}`);
  } catch (error) {
    if (isFailure(error, 'missing')) return null; // also where there is no such bucket
    throw error;
  }
}

/** Where every write makes a version, all but the newest go: what can't be removed must not become ever more. */
async function forgetOlder(ctx: Context, client: Client, scope: Scope): Promise<void> {
  if ((await settingOf(ctx, client, scope.bucket, 'versioning')) === null) return;
  const versions = await versionsOf(ctx, client, scope);
  await needDeleted(
    ctx,
    client,
    scope,
    versions.filter(({ latest }) => !latest),
  );
}

async function versionsOf(ctx: Context, client: Client, scope: Place): Promise<Listed[]> {
  const key = keyOf(scope);
  const pages = await Array.fromAsync(allVersions(ctx, client, { bucket: scope.bucket, prefix: key, exclude: [] }));
  return pages.flat().filter((each) => each.key === key);
}

async function needDeleted(
  ctx: Context,
  client: Client,
  scope: Place,
  doomed: readonly Pick<Listed, 'key' | 'version'>[],
): Promise<void> {
  if (doomed.length === 0) return;
  const left = await deleteAll(ctx, client, scope.bucket, doomed);
  if (left.length > 0) throw lacking(scope, new Error(left.join('; ')), left[0] ?? '');
}

async function granted<T>(work: Promise<T>, scope: Place): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw isFailure(error, 'denied') ? lacking(scope, error, error.message) : error;
  }
}

function lacking(scope: Place, cause: unknown, message: string): Failure {
  const rights = 's3:PutObject, s3:DeleteObject and, with versions, s3:DeleteObjectVersion';
  return new Failure('privileges', message, {
    cause,
    hint: `markers need ${rights} on ${scope.bucket}/${keyOf(scope)}`,
  });
}

// Where the parts of a component of a draft go: into files of their plain form, announced before they are written, each
// of one part or of several that are joined; into the folder of the component; or where nobody looks.

import assert from 'node:assert/strict';
import { z } from 'zod';
import { Failure } from '../../core/errors.ts';
import type { Bytes, Context, Rendition } from '../../core/model.ts';
import { isThere } from '../../core/objects.ts';
import type { Bucket } from '../../core/storage.ts';
import { type JoinedFile, joinedFile } from './joined.ts';
import { announcedKey, type FileOwner, fileKey, folderKey, folderPartKey, partKey } from './keys.ts';
import type { PlainFile } from './manifest.ts';
import { deleteKeys, findJson, keysBelow, putBody, putJson } from './objects.ts';
import type { Layout } from './settings.ts';

const announcedSchema = z.object({ file: z.string(), component: z.string() });

/** Brings bytes to where they are to lie; `offset` where they share a file. */
export type Target = (body: Bytes) => Promise<{ readonly offset?: number | undefined }>;

export interface PlainFiles {
  /**
   * Where a part goes. Those that are joined come in the order of these calls. Once the component has a folder, what
   * has no plain form lies in it, too.
   */
  place(ctx: Context, name: string, rendition: Rendition | undefined): Place;
  /** Null unless the component has one. */
  folder(): string | null;
  /** Waits for what is joined. What has a name of its own comes first: `file` in the manifest is the database. */
  close(): Promise<PlainFile[]>;
  /** What is joined and open never comes to be. */
  giveUp(): Promise<void>;
}
export interface Place {
  readonly key: string;
  readonly take: Target;
  taken(bytes: number): void;
  /** Where a part lies under its key as it is, and in no file of its own: resolves when it may be put. */
  readonly ready: Promise<unknown> | null;
}
interface Named extends PlainFile {
  readonly item: string | null;
}
interface FilesOptions {
  readonly layout: Layout;
  readonly id: string;
  readonly owner: FileOwner;
  /** No file is to be taken for a backup. */
  readonly aside: boolean;
  /** Resolves when earlier tries of the component write no more. */
  readonly left: Promise<unknown>;
}

export function plainFiles(ctx: Context, bucket: Bucket, { layout, id, owner, aside, left }: FilesOptions): PlainFiles {
  const component = owner.name;
  const files: Named[] = [];
  const joined = new Map<string, { readonly all: JoinedFile; readonly item: string | null }>();
  const announce = announcer(bucket, id, component);
  let folder: { readonly key: string; readonly ready: Promise<void>; bytes: number } | undefined;

  async function putAlone(putCtx: Context, key: string, body: Bytes): Promise<void> {
    const giveBack = await announce(putCtx, key);
    try {
      await putBody(putCtx, bucket, key, body);
    } catch (error) {
      giveBack();
      throw error;
    }
  }
  async function putJoined(key: string, body: Bytes): Promise<void> {
    await left;
    await putAlone(ctx, key, body);
  }
  async function claimFolder(putCtx: Context, key: string): Promise<void> {
    await left;
    await claim(putCtx, bucket, { id, component, folder: key });
  }
  function unannounced(putCtx: Context, key: string, ready: Promise<unknown>): Omit<Place, 'taken'> {
    const take = alone(async (body) => {
      await ready;
      await putBody(putCtx, bucket, key, body);
    });
    return { key, take, ready };
  }
  function inFolder(putCtx: Context, folderOf: string, key: string): Place {
    const own = folder ?? { key: folderOf, ready: claimFolder(putCtx, folderOf), bytes: 0 };
    folder = own;
    assert(own.key === folderOf, `${id}/${component} has one folder`);
    return { ...unannounced(putCtx, key, own.ready), taken: (size) => void (own.bytes += size) };
  }
  return {
    place(putCtx, name, rendition) {
      const form = aside ? undefined : rendition;
      if (form?.path) return inFolder(putCtx, folderKey(layout, id, owner, form), fileKey(layout, id, owner, form));
      if (!form && folder) return inFolder(putCtx, folder.key, folderPartKey(folder.key, name));
      if (!form) return { ...unannounced(putCtx, partKey(id, component, name), left), taken() {} };
      const key = fileKey(layout, id, owner, form);
      const { item } = form;
      if (form.joined) {
        const all = joined.get(key)?.all ?? joinedFile((body) => putJoined(key, body));
        joined.set(key, { all, item });
        return { key, take: async (body) => ({ offset: await all.append(body) }), taken() {}, ready: null };
      }
      const take = alone((body) => putAlone(putCtx, key, body));
      return { key, take, taken: (size) => void files.push({ file: key, size, item }), ready: null };
    },
    folder: () => folder?.key ?? null,
    async close() {
      if (folder) files.push({ file: folder.key, size: folder.bytes, item: null });
      for (const [file, { all, item }] of joined) files.push({ file, size: await all.close(), item });
      return files.toSorted((a, b) => (rank(a) < rank(b) ? -1 : 1)).map(({ file, size }) => ({ file, size }));
    },
    async giveUp() {
      await Promise.all(Array.from(joined.values(), ({ all }) => all.giveUp()));
    },
  };
}

/** A file that has one part. */
function alone(put: (body: Bytes) => Promise<unknown>): Target {
  return async (body) => {
    await put(body);
    return {};
  };
}

/**
 * Refuses the name of another part, and of a file that others have put there. What it returns gives the name back to a
 * part that is put once more.
 */
function announcer(bucket: Bucket, id: string, component: string): (ctx: Context, file: string) => Promise<() => void> {
  const claimed = new Set<string>();
  return async (ctx, file) => {
    if (claimed.has(file))
      throw new Failure('exists', `two parts of ${id}/${component} would both be the file ${file}`);
    claimed.add(file);
    if (!(await isAnnounced(ctx, bucket, { id, component, file }))) {
      if (await isThere(ctx, bucket, file)) throw new Failure('exists', `${bucket.url} has ${file} already`);
      await putJson(ctx, bucket, announcedKey(id, file), { file, component }, true);
    }
    return () => void claimed.delete(file);
  };
}

/** What an earlier try has left in the folder goes; what others have put there is left alone, and in the way. */
async function claim(
  ctx: Context,
  bucket: Bucket,
  { id, component, folder }: { readonly id: string; readonly component: string; readonly folder: string },
): Promise<void> {
  if (await isAnnounced(ctx, bucket, { id, component, file: folder })) {
    return await deleteKeys(ctx, bucket, keysBelow(ctx, bucket, folder));
  }
  for await (const key of keysBelow(ctx, bucket, folder)) {
    throw new Failure('exists', `${bucket.url} has ${key} already`);
  }
  await putJson(ctx, bucket, announcedKey(id, folder), { file: folder, component }, true);
}

/** By an earlier try. Refuses what is another component's. */
async function isAnnounced(
  ctx: Context,
  bucket: Bucket,
  { id, component, file }: { readonly id: string; readonly component: string; readonly file: string },
): Promise<boolean> {
  const note = await findJson(ctx, bucket, announcedKey(id, file), announcedSchema);
  if (note && note.component !== component)
    throw new Failure('exists', `a part of ${id}/${component} and one of ${note.component} would both be ${file}`);
  return note !== null;
}

function rank({ item, file }: Named): string {
  return `${item === null ? 1 : 0}${file}`;
}

// The manifest of a plain point: what core/manifest.ts says, with the file names that the old plans' scripts read.

import { createHash } from 'node:crypto';
import { z } from 'zod';
import { readAll } from '../../core/bytes.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import { MANIFEST_BYTES_MAX, manifestJson, parseManifest } from '../../core/manifest.ts';
import type { Context } from '../../core/model.ts';
import type { RecoveryPoint } from '../../core/point.ts';
import type { Bucket } from '../../core/storage.ts';
import type { IndexProof } from './index.ts';
import { datedDigestKey, datedManifestKey, ownDigestKey, ownManifestKey } from './keys.ts';
import type { Layout } from './settings.ts';

/** The method of components that other programs captured. */
export const IMPORTED = 'import';

const indexSchema = z.object({ bytes: z.number().int().nonnegative(), sha256: z.string().length(64) });
const fileSchema = z.object({ file: z.string(), size: z.number().int().nonnegative() });
/** What lies in the folder of a component, and what the list of it is. */
export const folderProofSchema = z.object({
  count: z.number().int().nonnegative(),
  bytes: z.number().int().nonnegative(),
  list: indexSchema,
});
export type FolderProof = z.output<typeof folderProofSchema>;
/** What a receipt of this store carries. */
export const proofSchema = z.object({
  index: indexSchema,
  files: z.array(fileSchema),
  folder: folderProofSchema.nullable().default(null),
});
export type Proof = z.output<typeof proofSchema>;
/** A file in its plain form, or a folder, which ends in '/': its key and its stored bytes. */
export type PlainFile = z.output<typeof fileSchema>;

const plainSchema = z.object({
  components: z.record(
    z.string(),
    z.object({ files: z.array(fileSchema).default([]), index: indexSchema.nullable().default(null) }),
  ),
});

/** Where a point's manifest lies; the names of its files are below `dir`. */
export interface Place {
  readonly id: string;
  readonly manifest: string;
  /** Where the SHA-256 of the manifest lies. */
  readonly digest: string;
  readonly dir: string;
}
export interface PlainPoint {
  readonly place: Place;
  readonly point: RecoveryPoint;
  /** Its checksum lies beside it, and fits. */
  readonly proved: boolean;
  index(component: string): IndexProof | null;
  /** Keys of the files in their plain form, of one component or of all. */
  files(component?: string): readonly PlainFile[];
}

/** Where a point of this layout is committed. */
export function placeOf(layout: Layout, id: string): Place {
  return layout === 'dated'
    ? { id, manifest: datedManifestKey(id), digest: datedDigestKey(id), dir: `${id}/` }
    : { id, manifest: ownManifestKey(id), digest: ownDigestKey(id), dir: '' };
}
/** Where no script looks: for points aside, and for the description of files that others wrote. */
export function ownPlaceOf(id: string): Place {
  return placeOf('by-component', id);
}

export function renderManifest(place: Place, point: RecoveryPoint, proofs: ReadonlyMap<string, Proof>): Buffer {
  const json = manifestJson(point);
  const components = Object.entries(json.components).map(([name, each]) => {
    const proof = proofs.get(name);
    if (!proof) return [name, each] as const;
    const files = proof.files.map(({ file, size }) => ({ file: file.slice(place.dir.length), size }));
    return [name, { ...files[0], ...each, ...(files.length > 0 ? { files } : {}), index: proof.index }] as const;
  });
  const text = `${JSON.stringify({ ...json, components: Object.fromEntries(components) }, null, 2)}\n`;
  const bytes = Buffer.from(text);
  if (bytes.length > MANIFEST_BYTES_MAX) {
    throw new Failure('value-too-large', `the manifest of ${point.id} would have ${bytes.length} bytes`);
  }
  return bytes;
}

/** The committed point of that id in either place, or null. A damaged manifest is 'malformed' or 'checksum'. */
export async function findPoint(ctx: Context, bucket: Bucket, layout: Layout, id: string): Promise<PlainPoint | null> {
  const places = layout === 'dated' ? [placeOf(layout, id), ownPlaceOf(id)] : [ownPlaceOf(id)];
  for (const place of places) {
    const point = await readPoint(ctx, bucket, place);
    if (point) return point;
  }
  return null;
}

/** Nothing writes over a point: a damaged one is out of the way once its files are deleted by hand. */
export function againHint({ id, manifest, dir }: Place): string {
  const keys = dir === '' ? `${manifest} and the files of this point` : `everything below ${dir}`;
  return `restore from another store; to copy ${id} here again, delete ${keys} first`;
}

/** Null when there is no manifest, or one of other programs, which know neither our format nor our digests. */
async function readPoint(ctx: Context, bucket: Bucket, place: Place): Promise<PlainPoint | null> {
  const bytes = await contentOf(ctx, bucket, place.manifest);
  if (!bytes) return null;
  const text = bytes.toString('utf8');
  const kept = await contentOf(ctx, bucket, place.digest);
  if (!kept && !mentionsFormat(text)) return null;
  if (kept && kept.toString('utf8').trim() !== createHash('sha256').update(bytes).digest('hex')) {
    throw new Failure('checksum', `the manifest of ${place.id} is not the one that was committed`, {
      hint: `if only ${place.digest} is damaged, delete it: the manifest is believed then; else ${againHint(place)}`,
    });
  }
  const point = parseManifest(text, place.id);
  const plain = plainSchema.safeParse(JSON.parse(text));
  if (!plain.success || point.id !== place.id) {
    throw new Failure('malformed', `the manifest of ${place.id} is none of a plain store`, { cause: plain.error });
  }
  const { components } = plain.data;
  return {
    place,
    point,
    proved: kept !== null,
    index: (component) => (Object.hasOwn(components, component) ? (components[component]?.index ?? null) : null),
    files: (of) =>
      Object.entries(components)
        .filter(([name]) => of === undefined || name === of)
        .flatMap(([, { files }]) => files.map(({ file, size }) => ({ file: `${place.dir}${file}`, size }))),
  };
}

/** Null when there is no such object. */
export async function contentOf(ctx: Context, bucket: Bucket, key: string): Promise<Buffer | null> {
  try {
    return await readAll(bucket.get(ctx, key), MANIFEST_BYTES_MAX);
  } catch (error) {
    if (isFailure(error, 'missing')) return null;
    if (!(error instanceof RangeError)) throw error;
    throw new Failure('malformed', `${key} is longer than ${MANIFEST_BYTES_MAX} bytes`, { cause: error });
  }
}

function mentionsFormat(text: string): boolean {
  try {
    const json: unknown = JSON.parse(text);
    return typeof json === 'object' && json !== null && 'format' in json;
  } catch {
    return false; // a manifest of ours that is cut has its digest beside it
  }
}

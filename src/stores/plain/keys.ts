// Where everything lies in a plain store. Directly below its prefix are dated folders only (or one folder for each
// kind): scripts find the newest backup with `aws s3 ls PREFIX/ | sort -r | head -1`. All else is under 0-lifeboat/.

import { createHash } from 'node:crypto';
import { timeOfId } from '../../core/manifest.ts';
import type { Rendition } from '../../core/model.ts';
import type { Layout } from './settings.ts';

export const OWN = '0-lifeboat/';
export const OWNER_KEY = `${OWN}owner.json`;
export const MANIFESTS = `${OWN}manifests/`;
export const DRAFTS = `${OWN}drafts/`;
export const PENDING = `${OWN}pending-delete/`;
export const INDEXES = `${OWN}index/`;
export const PARTS = `${OWN}points/`;
export const JOURNALS = `${OWN}journal/`;
/** In the folder of a component; a name that no bucket can have, and no index. */
const ABOUT = '_lifeboat/';

/** A file system's limit is 255 bytes. */
const SEGMENT_BYTES_MAX = 200;
/** Of a bucket's 1024: what is left for a part when the folders before it are counted. */
const NAME_BYTES_MAX = 700;
/** No clock on a wall has ever been further from UTC. */
const ZONE_MS_MAX = 16 * 3_600_000;
/** All of them have been whole quarters of an hour from it since 1972. */
const ZONE_MS_STEP = 15 * 60_000;

/** The manifest of a point in the dated layout. */
export function datedManifestKey(id: string): string {
  return `${id}/manifest.json`;
}
/** The manifest of any other point: by component, or adopted from other programs. */
export function ownManifestKey(id: string): string {
  return `${MANIFESTS}${id}.json`;
}
/** The checksum of a manifest lies apart from it: what has one is ours, however damaged. */
export function datedDigestKey(id: string): string {
  return `${INDEXES}${id}/manifest.sha256`;
}
export function ownDigestKey(id: string): string {
  return `${MANIFESTS}${id}.sha256`;
}
export function indexKey(id: string, component: string): string {
  return `${INDEXES}${id}/${segment(component)}.ndjson`;
}
export function draftKey(id: string): string {
  return `${DRAFTS}${id}/draft.json`;
}
export function receiptsPrefix(id: string): string {
  return `${DRAFTS}${id}/receipts/`;
}
export function receiptKey(id: string, component: string): string {
  return `${receiptsPrefix(id)}${segment(component)}.json`;
}
export function announcedPrefix(id: string): string {
  return `${DRAFTS}${id}/files/`;
}
export function announcedKey(id: string, file: string): string {
  return `${announcedPrefix(id)}${sha256(file)}.json`;
}
export function pendingKey(id: string): string {
  return `${PENDING}${id}.json`;
}

/** A part that has no plain form of its own. */
export function partKey(id: string, component: string, name: string): string {
  return `${PARTS}${id}/${segment(component)}/${shortened(name.split('/').map(segment).join('/'))}`;
}

/** The component that a file is of; `onlyOfKind`: the point has no other of that kind. */
export interface FileOwner {
  readonly name: string;
  readonly onlyOfKind: boolean;
}

/** The file of a part in its plain form, or within the folder of its component. */
export function fileKey(layout: Layout, id: string, owner: FileOwner, form: Rendition): string {
  const { path, suffix, gzip } = form;
  const end = gzip ? '.gz' : '';
  if (path) return `${folderKey(layout, id, owner, form)}${shortened(path.map(segment).join('/'))}${end}`;
  return `${stemOf(layout, id, owner, form)}${suffix}${end}`;
}

/** The folder of a component whose parts are many. */
export function folderKey(layout: Layout, id: string, owner: FileOwner, { word }: Pick<Rendition, 'word'>): string {
  return `${stemOf(layout, id, owner, { word, item: null, alone: true })}/`;
}
/** What belongs to the folder as such: no driver's path begins so. */
export function aboutKey(folder: string): string {
  return `${folder}${ABOUT}component.json`;
}
export function listKey(folder: string): string {
  return `${folder}${ABOUT}files.ndjson.gz`;
}
/** A part that has no plain form, of a component that has a folder. */
export function folderPartKey(folder: string, name: string): string {
  return `${folder}${ABOUT}parts/${shortened(name.split('/').map(segment).join('/'))}`;
}
export function isFolder(file: string): boolean {
  return file.endsWith('/');
}

function stemOf(
  layout: Layout,
  id: string,
  { name: component, onlyOfKind }: FileOwner,
  { word, item, alone }: Pick<Rendition, 'word' | 'item' | 'alone'>,
): string {
  const name = segment(component);
  const within = item === null ? null : segment(item);
  if (layout === 'by-component') {
    const stem = [onlyOfKind ? word : name, ...(within === null ? [] : [within]), stampOf(id)];
    return `${word}/${stem.join('_')}`;
  }
  const stem = onlyOfKind && alone ? [word] : within === null ? [name] : [name, within];
  return `${id}/${[...stem, id].join('-')}`;
}

/**
 * Whether a file can be one of this point. Notes and manifests name the files that go with it, and whatever they name,
 * no other goes: they may be forged. What other programs made (`imported`) has a stamp in their own zone.
 */
export function mayBelong(layout: Layout, id: string, file: string, imported = false): boolean {
  const [folder, ...names] = (isFolder(file) ? file.slice(0, -1) : file).split('/');
  const name = names.at(-1);
  if (name === undefined || [folder, ...names].some((each) => each === '' || each === '.' || each === '..'))
    return false;
  if (layout === 'dated') return folder === id;
  if (names.length > 1 || `${folder}/` === OWN) return false;
  if (!imported) return name.includes(`_${stampOf(id)}`);
  const stamps = name.matchAll(/(?<!\d)(\d{4}-?\d\d-?\d\d[-_T]?\d{6})(?!\d)/g);
  return [...stamps].some(([, stamp]) => {
    const at = wallClockOf(stamp ?? '');
    return at !== null && Math.abs(at.getTime() - timeOfId(id).getTime()) <= ZONE_MS_MAX;
  });
}

/** Whether one stamp can be the moment of either point, each in another zone. */
export function mayShareStamps(id: string, other: string): boolean {
  const apartMs = Math.abs(timeOfId(id).getTime() - timeOfId(other).getTime());
  return id !== other && apartMs <= 2 * ZONE_MS_MAX && apartMs % ZONE_MS_STEP === 0;
}

/** '20260128_120000' or '2026-01-28-120000' on a clock on the wall, as if that were UTC; null when it is none. */
export function wallClockOf(stamp: string): Date | null {
  const [, y, mo, d, h, mi, s] = /^(\d{4})-?(\d\d)-?(\d\d)[-_T]?(\d\d)(\d\d)(\d\d)$/.exec(stamp) ?? [];
  const at = new Date(`${y}-${mo}-${d}T${h}:${mi}:${s}Z`);
  return Number.isNaN(at.getTime()) ? null : at;
}

/** '20260128_120000' of '2026-01-28-120000'. */
function stampOf(id: string): string {
  return `${id.slice(0, 10).replaceAll('-', '')}_${id.slice(11)}`;
}

/** Other bytes than letters, digits, dots, dashes and underscores as %XX; what is too long for a file system is cut. */
export function segment(text: string): string {
  const safe = encodeSegment(text);
  return safe.length <= SEGMENT_BYTES_MAX ? safe : `${safe.slice(0, 100)}%cut-${sha256(text)}`;
}

function shortened(path: string): string {
  return path.length > NAME_BYTES_MAX ? `%long/${sha256(path)}` : path;
}

export function encodeSegment(text: string): string {
  return text.replace(/[^A-Za-z0-9._-]+/gu, (odd) =>
    Array.from(Buffer.from(odd), (byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''),
  );
}

export function decodeSegment(text: string): string {
  return decodeURIComponent(text);
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

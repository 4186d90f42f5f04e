// What the objects of a journal are called: JOURNAL/COMPONENT/LINEAGE/FOLDER/FROM-TO-SHA256, or the same and '.gap'.
// A name tells what is there without its being opened.

import assert from 'node:assert/strict';
import { Failure } from '../core/errors.ts';
import type { Context, Json } from '../core/model.ts';
import type { Bucket } from '../core/storage.ts';

/** Where journals lie, and how a store seals what lies there. */
export interface JournalVault {
  readonly bucket: Bucket;
  /** The folder with everything of ours: 'lifeboat/'. */
  readonly own: string;
  seal(plain: Uint8Array): Buffer;
  /** 'checksum' when it was changed, or when more than `bytesMax` come out. */
  open(stored: Uint8Array, bytesMax: number): Buffer;
  /** Does it open again as just this? May throw what `open` throws. */
  holds(stored: Uint8Array, plain: Uint8Array): boolean;
  putDocument(ctx: Context, key: string, value: Json, options?: { ifAbsent: boolean }): Promise<void>;
  /** 'missing', 'checksum' or 'malformed'. */
  getDocument(ctx: Context, key: string): Promise<unknown>;
}

/** A range, or a gap that was noted. */
export interface Entry {
  readonly key: string;
  readonly folder: string;
  readonly from: string;
  readonly to: string;
  /** Of the stored bytes. */
  readonly sha256: string;
  readonly isGap: boolean;
  readonly bytes: number;
}

const COMPONENT = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;
const POSITION = /^[0-9a-z]{1,80}$/;
const ENTRY = /^([0-9a-z]{1,80})-([0-9a-z]{1,80})-([0-9a-f]{64})(\.gap)?$/;
const LINEAGE = /^\d{8}$/;
const LINEAGE_DIGITS = 8;

function journalsFolder({ own }: JournalVault): string {
  return `${own}journal/`;
}
export function componentFolder(vault: JournalVault, component: string): string {
  assert(COMPONENT.test(component), `${component} is the name of a component`);
  return `${journalsFolder(vault)}${component}/`;
}
export function lineageFolder(vault: JournalVault, component: string, lineage: string): string {
  return `${componentFolder(vault, component)}${lineage}/`;
}
/** Who writes, and who prunes. */
export function leaseFolder({ own }: JournalVault, work: 'journal' | 'journal-prune', component: string): string {
  return `${own}leases/${work}/${component}/`;
}

export function entryName({ from, to, sha256, isGap }: Omit<Entry, 'key' | 'folder' | 'bytes'>): string {
  return `${from}-${to}-${sha256}${isGap ? '.gap' : ''}`;
}

/** Null for what is no range of ours. */
export function entryOf(folder: string, key: string, bytes: number): Entry | null {
  const [, from = '', to = '', sha256 = '', gap] = ENTRY.exec(key.slice(folder.length)) ?? [];
  if (from === '' || from.length !== to.length || from >= to) return null;
  return { key, folder, from, to, sha256, isGap: gap !== undefined, bytes };
}

export function isPosition(text: string): boolean {
  return POSITION.test(text);
}
export function assertPositions(width: number, ...positions: readonly string[]): void {
  for (const position of positions) {
    assert(isPosition(position) && position.length === width, `${position} is a position of ${width} characters`);
  }
}

/** The folders of a component, and so its lineages, in the order in which they were begun. */
export async function lineageIds(ctx: Context, vault: JournalVault, component: string): Promise<string[]> {
  const ids: string[] = [];
  for await (const folder of vault.bucket.folders(ctx, componentFolder(vault, component))) {
    const id = folder.slice(0, -1);
    if (LINEAGE.test(id)) ids.push(id);
  }
  return ids;
}

export function nextLineageId(last: string | undefined): string {
  const next = String(Number(last ?? '0') + 1).padStart(LINEAGE_DIGITS, '0');
  if (!LINEAGE.test(next)) throw new Failure('value-too-large', `a journal has at most ${last} lineages`);
  return next;
}

/** The components that have a journal. */
export async function* journalNames(ctx: Context, vault: JournalVault): AsyncIterable<string> {
  for await (const folder of vault.bucket.folders(ctx, journalsFolder(vault))) {
    const name = folder.slice(0, -1);
    if (COMPONENT.test(name)) yield name;
  }
}

// The tree as a list of znodes, one line of JSON each: in the order of their paths with a slash behind, in which what
// is below a znode follows it.

import { isUtf8 } from 'node:buffer';
import { hash } from 'node:crypto';
import { Failure } from '../../core/errors.ts';
import type { InventoryLine } from '../../core/model.ts';
import { type Acl, aclFrom, aclText, isMasked } from './protocol.ts';
import { isPath } from './settings.ts';

export const TREE_PART = 'tree.ndjson';
const FORMAT = 1;
/** What holds more is a part of its own. */
export const WHOLE_BYTES_MAX = 16 * 1024;

/** What a znode holds. Null is not the same as nothing in it. */
export type Content = null | {
  readonly bytes: number;
  readonly sha256: string;
  /** Null when it is a part of its own, or was not wanted. */
  readonly whole: Buffer | null;
};
export interface Entry {
  /** Below the root that is protected; that itself is '/'. */
  readonly path: string;
  /** 'ephemeral': of a living session. 'denied': we may not read it. */
  readonly type: 'znode' | 'ephemeral' | 'denied';
  readonly content: Content;
  readonly acl: readonly Acl[];
  /** How many children it ever had: the number that the next sequential one gets. */
  readonly counter: number;
  readonly version: number;
  /** The version of the ACL. */
  readonly aversion: number;
  readonly modifiedMs: number;
}

/** The first line of the tree. */
export interface Head {
  readonly format: number;
  readonly root: string;
  readonly zxid: string;
}
/** The last line: a tree without it is cut off. */
export interface Tail {
  readonly entries: number;
}
export type TreeLine = { readonly head: Head } | { readonly entry: Entry } | { readonly tail: Tail };

/** How paths are ordered, and the names of the inventory's lines. */
export function orderKey(path: string): string {
  return path === '/' ? path : `${path}/`;
}

/** The other way round. */
export function pathIn(key: string): string {
  return key === '/' ? key : key.slice(0, -1);
}

export function compareKeys(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** True of the znode itself as well. */
export function isWithin(path: string, ancestor: string): boolean {
  return orderKey(path).startsWith(orderKey(ancestor));
}

export function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/';
}

export function partOf(sha256: string): string {
  return `data/${sha256}`;
}

export function sha256Of(data: Uint8Array): string {
  return hash('sha256', data);
}

export function headLine(root: string, zxid: string): string {
  return `${JSON.stringify({ format: FORMAT, root, zxid })}\n`;
}

export function tailLine(entries: number): string {
  return `${JSON.stringify({ entries })}\n`;
}

/** Without its end. */
export function entryLine(entry: Entry): string {
  const { path, type, content, acl, counter, version, aversion, modifiedMs } = entry;
  const modified = new Date(modifiedMs).toISOString();
  const more = { counter, version, aversion, modified };
  if (type !== 'znode') return JSON.stringify({ path, [type]: true, ...more });
  return JSON.stringify({ path, ...contentFields(content), acl: acl.map(aclText), ...more });
}

function contentFields(content: Content): object {
  if (content === null) return { data: null };
  const { bytes, sha256, whole } = content;
  if (whole === null) return { part: partOf(sha256), bytes };
  return isUtf8(whole) ? { data: whole.toString('utf8') } : { base64: whole.toString('base64') };
}

/** By hand: there may be a million of them. Null for what is none. */
export function lineFrom(value: unknown): TreeLine | null {
  if (typeof value !== 'object' || value === null) return null;
  const fields: Record<string, unknown> = { ...value };
  if (typeof fields.format === 'number') {
    const { format, root, zxid } = fields;
    if (format !== FORMAT) throw new Failure('version-mismatch', `the tree is of format ${format}, not ${FORMAT}`);
    return typeof root === 'string' && isPath(root) && typeof zxid === 'string'
      ? { head: { format, root, zxid } }
      : null;
  }
  if (typeof fields.entries === 'number') return { tail: { entries: fields.entries } };
  const { path, counter, version, aversion, modified } = fields;
  if (typeof path !== 'string' || !isPath(path)) return null;
  if (!isCount(counter) || !isCount(version) || !isCount(aversion) || typeof modified !== 'string') return null;
  const type = fields.ephemeral === true ? 'ephemeral' : fields.denied === true ? 'denied' : 'znode';
  const content = type === 'znode' ? contentFrom(fields) : null;
  const acl = type === 'znode' ? aclsFrom(fields.acl) : [];
  const modifiedMs = Date.parse(modified);
  if (content === undefined || acl === null || Number.isNaN(modifiedMs)) return null;
  return { entry: { path, type, content, acl, counter, version, aversion, modifiedMs } };
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}

function contentFrom({ data, base64, part, bytes }: Record<string, unknown>): Content | undefined {
  if (data === null) return null;
  if (typeof part === 'string' && isCount(bytes)) {
    const [, sha256] = /^data\/([0-9a-f]{64})$/.exec(part) ?? [];
    return sha256 === undefined ? undefined : { bytes, sha256, whole: null };
  }
  if (typeof data === 'string') return wholeContent(Buffer.from(data));
  if (typeof base64 === 'string') return wholeContent(Buffer.from(base64, 'base64'));
  return undefined;
}

export function wholeContent(whole: Buffer): NonNullable<Content> {
  return { bytes: whole.length, sha256: sha256Of(whole), whole };
}

function aclsFrom(value: unknown): Acl[] | null {
  if (!Array.isArray(value)) return null;
  const found: Acl[] = [];
  for (const each of value) {
    const acl = typeof each === 'string' ? aclFrom(each) : null;
    if (acl === null) return null;
    found.push(acl);
  }
  return found;
}

/** Null for what is not compared: sessions end. */
export function inventoryLine({ path, type, content, acl, counter }: Entry): InventoryLine | null {
  if (type === 'ephemeral') return null;
  const line = { kind: 'znode', name: orderKey(path), detail: { counter } };
  if (type === 'denied') return { ...line, count: null, digest: null };
  return { ...line, count: content?.bytes ?? 0, digest: isMasked(acl) ? null : digestOf(content, acl) };
}

function digestOf(content: Content, acl: readonly Acl[]): string {
  const rights = acl.map(aclText).sort();
  return `sha256:${hash('sha256', JSON.stringify([content?.sha256 ?? null, rights]))}`;
}

/** The same rights in any order. */
export function sameAcl(a: readonly Acl[], b: readonly Acl[]): boolean {
  return JSON.stringify(a.map(aclText).sort()) === JSON.stringify(b.map(aclText).sort());
}

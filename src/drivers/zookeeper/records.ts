// Znodes that wait on disk between being read and being written, as the lines that the point gets: made once.

import { Failure } from '../../core/errors.ts';
import { type Entry, entryLine, inventoryLine } from './entries.ts';
import { isMasked } from './protocol.ts';

/** What is looked at once more, and the rest as text. */
export interface Kept {
  readonly path: string;
  readonly type: Entry['type'];
  readonly bytes: number;
  /** Its ACL was shown without the hashes of passwords. */
  readonly masked: boolean;
  readonly version: number;
  readonly aversion: number;
  /** Of the tree. */
  readonly line: string;
  /** Of the inventory; empty for what is not compared. */
  readonly inventory: string;
}

const FIELDS = 8;

/** A line. Neither paths nor JSON hold the tabs between its fields. */
export function keptText(entry: Entry): string {
  const { path, type, content, acl, version, aversion } = entry;
  const compared = inventoryLine(entry);
  const inventory = compared === null ? '' : JSON.stringify(compared);
  const counts = `${content?.bytes ?? 0}\t${isMasked(acl) ? 'masked' : ''}\t${version}\t${aversion}`;
  return `${path}\t${type}\t${counts}\t${entryLine(entry)}\t${inventory}\n`;
}

export function keptFrom(text: string): Kept {
  const fields = text.split('\t');
  const [path = '', type, bytes, masked, version, aversion, line = '', inventory = ''] = fields;
  if (fields.length !== FIELDS || (type !== 'znode' && type !== 'ephemeral' && type !== 'denied')) {
    throw new Failure('malformed', 'what was read of the tree and kept on disk was changed there');
  }
  const counts = { bytes: Number(bytes), version: Number(version), aversion: Number(aversion) };
  return { path, type, ...counts, masked: masked !== '', line, inventory };
}

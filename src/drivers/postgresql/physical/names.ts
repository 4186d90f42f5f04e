// Where a base backup lies in a point: its parts under `physical/`, its files in the inventory by the names that the
// backup's own manifest gives them.

export const PHYSICAL_PREFIX = 'physical/';
/** The directories of them all, a line each: a store keeps no empty ones. */
export const DIRECTORIES_PART = 'physical/directories';
export const MANIFEST_FILE = 'backup_manifest';
export const MAP_FILE = 'tablespace_map';
export const LABEL_FILE = 'backup_label';
/** Without it no server starts. */
export const CONTROL_FILE = 'global/pg_control';
/** They would make a restored server look for a primary, or for an archive. */
export const SIGNAL_FILES: ReadonlySet<string> = new Set(['standby.signal', 'recovery.signal']);

const TABLESPACES = 'physical/tablespaces/';
const LINKS = 'pg_tblspc/';

/** Where what one directory of the server holds lies. */
export interface Tree {
  /** In the names of parts. */
  readonly parts: string;
  /** In the names of files. */
  readonly files: string;
}
export const DATA_TREE: Tree = { parts: 'physical/data/', files: '' };

export function tablespaceTree(oid: string): Tree {
  return { parts: `${TABLESPACES}${oid}/`, files: `${LINKS}${oid}/` };
}

/** 'base/5/1259' of the data directory, 'pg_tblspc/16385/PG_17_…/5/16390' of a tablespace. */
export function oidIn(file: string): string | null {
  return /^pg_tblspc\/(\d+)\//.exec(file)?.[1] ?? null;
}

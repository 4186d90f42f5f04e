// Names of databases and objects: as SQL, as connection strings, as parts of a point.

/** An identifier as SQL: quoted unless it is plain. */
export function ident(name: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(name) ? name : quoted(name);
}

/** An identifier in quotes, whatever it is: for statements, where a plain one may be a keyword. */
export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** A string as SQL, whatever standard_conforming_strings says. */
export function literal(text: string): string {
  const inner = text.replaceAll("'", "''");
  return inner.includes('\\') ? `E'${inner.replaceAll('\\', '\\\\')}'` : `'${inner}'`;
}

/** A connection string that names this database and nothing else, though it be called `host=evil`. */
export function conninfo(database: string): string {
  return `dbname='${database.replace(/[\\']/g, '\\$&')}'`;
}

/**
 * The parts of a point: roles, and each database as an archive; as SQL text where a plain store or a script kept it.
 */
export const GLOBALS_PART = 'globals.sql';
export const ARCHIVE_SUFFIX = '.dump';
export const SQL_SUFFIX = '.sql';

const UNFIT = /[%/\p{Cc}]/gu;

/** The part of a database: any name that PostgreSQL allows becomes one lawful segment. */
export function databasePart(database: string, suffix: string): string {
  const escaped = database.replace(UNFIT, (char) => `%${char.charCodeAt(0).toString(16).padStart(2, '0')}`);
  return `databases/${escaped}${suffix}`;
}

/** The database of a part, or null when the part is of another sort. */
export function databaseOfPart(part: string, suffix: string): string | null {
  if (!part.startsWith('databases/') || !part.endsWith(suffix)) return null;
  const escaped = part.slice('databases/'.length, -suffix.length);
  return escaped.replace(/%([0-9a-f]{2})/gi, (_all, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

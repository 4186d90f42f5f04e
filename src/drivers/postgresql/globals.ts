// Roles from `globals.sql`. Missing ones are created as they were; those that are there are never changed.
//
// The text may come from anywhere, so nothing in it is run but statements of the few forms that pg_dumpall writes.

import { z } from 'zod';
import { isFailure, messageOf } from '../../core/errors.ts';
import type { Context, Source } from '../../core/model.ts';
import { type Session, sqlState } from './connection.ts';
import { GLOBALS_PART, quoted } from './names.ts';
import { sqlItems } from './sqltext.ts';

const IDENT = '("(?:[^"]|"")+"|[a-z_][a-z0-9_$]*)';
const CREATE = new RegExp(`^create role ${IDENT}$`, 'i');
const ABOUT_ROLE = new RegExp(`^(?:alter role|comment on role) ${IDENT} (?:with|set|is) `, 'i');
const MEMBERSHIP = new RegExp(`^grant ${IDENT} to ${IDENT}( with [a-z ,]+)?( granted by ${IDENT})?$`, 'i');

/** Owns what SQL text gives to a superuser or to nobody: without login, and with no rights but these. */
export const STAND_IN = 'lifeboat_owner';

export async function rolesOf(session: Session): Promise<Set<string>> {
  const rows = await session.rows(z.object({ name: z.string() }), 'select rolname as name from pg_roles');
  return new Set(rows.map(({ name }) => name));
}

/** Creates the roles that are missing; what could not be done is told as warnings. */
export async function restoreRoles(ctx: Context, session: Session, source: Source): Promise<string[]> {
  try {
    await source.part(ctx, GLOBALS_PART);
  } catch (error) {
    if (isFailure(error, 'missing')) return []; // files of the old scripts have none
    throw error;
  }
  const before = await rolesOf(session);
  const made = new Set<string>();
  const warnings: string[] = [];
  const attempt = async (text: string, what: string): Promise<void> => {
    try {
      await session.run(text);
    } catch (error) {
      if (sqlState(error) === '') throw error;
      warnings.push(`${what}: ${messageOf(error)}`);
    }
  };
  for await (const { text } of sqlItems(source.get(ctx, GLOBALS_PART))) {
    const created = nameIn(CREATE, text);
    if (created !== null && !before.has(created)) {
      await attempt(text, `role ${created} was not created`);
      made.add(created);
      continue;
    }
    const role = nameIn(ABOUT_ROLE, text);
    if (role !== null && made.has(role)) await attempt(text, `role ${role} lacks an attribute`);
    const member = membership(text);
    if (member && (made.has(member.role) || made.has(member.of))) {
      await attempt(member.text, `role ${member.role} is no member of ${member.of}`);
    }
  }
  return warnings;
}

/** Roles that are named by what is restored and exist nowhere: without login, so that what they own can be theirs. */
export async function createPlaceholders(session: Session, names: Iterable<string>): Promise<string[]> {
  const there = await rolesOf(session);
  const absent = [...new Set(names)].filter((name) => !there.has(name) && name.toLowerCase() !== 'public');
  for (const name of absent) await session.run(`create role ${quoted(name)} nologin`);
  return absent.map((name) => `role ${name} was not there: created without login and password`);
}

function nameIn(pattern: RegExp, text: string): string | null {
  const name = pattern.exec(text)?.[1];
  return name === undefined ? null : unquoted(name);
}

/** Without who granted it: that one must be an administrator of this server, and may be another one here. */
function membership(text: string): { of: string; role: string; text: string } | null {
  const [, of, role, options = ''] = MEMBERSHIP.exec(text) ?? [];
  if (of === undefined || role === undefined) return null;
  return { of: unquoted(of), role: unquoted(role), text: `grant ${of} to ${role}${options}` };
}

export function unquoted(name: string): string {
  return name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name;
}

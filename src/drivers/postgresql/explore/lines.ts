// What people are told who explore: how they come to the server, and how they go on without us.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { LOOPBACK } from '../../../core/ports.ts';
import { POSTGRES } from '../databases.ts';
import { shellWord } from '../recovery/scripts.ts';
import type { Server } from '../settings.ts';
import type { Place } from './control.ts';
import { OWN } from './server.ts';

const PLAIN = /^[\w./-]+$/;

/** No password stands in them: that of the network is the role's own, as it was then. */
export function accessLines({ path }: Place, { port, user }: Server, database = POSTGRES): readonly string[] {
  const psql = (host: string): string => words(['psql', '-h', host, '-p', String(port), '-U', user, database]);
  const [role, name] = [user, database].map(encodeURIComponent);
  return [
    `${psql(join(path, OWN))} (as the owner of the directory or root; no password is asked for)`,
    `postgresql://${role}@${LOOPBACK}:${port}/${name} (with the password that ${user} had then)`,
  ];
}

export function leftLines({ path, postgres }: Place, recovers: boolean): readonly string[] {
  const state = recovers
    ? 'a server that is started on it comes back to where this one stood, and is then a primary'
    : 'a server that is started on it is a primary';
  const hasOwn = existsSync(join(path, 'postgresql.conf'));
  const elsewhere = "the server's settings were not in it: add -o '-c config_file=…' with a copy of them";
  return [
    `${path} stays: ${state}`,
    `by its owner: ${words([join(postgres.dir, 'pg_ctl'), '-D', path, '-l', join(path, 'server.log'), 'start'])}`,
    ...(hasOwn ? [] : [elsewhere]),
  ];
}

function words(all: readonly string[]): string {
  return all.map((word) => (PLAIN.test(word) ? word : shellWord(word))).join(' ');
}

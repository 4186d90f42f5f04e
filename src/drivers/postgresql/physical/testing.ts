// What the tests of base backups share.

import assert from 'node:assert/strict';
import { chmodSync, chownSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { unprivilegedUser } from '../../../../test/servers/install.ts';
import type { Postgres } from '../../../../test/servers/postgres.ts';
import { removeDir, temporaryDir } from '../../../../test/servers/processes.ts';
import type { Component } from '../../../core/component.ts';
import { inventoryOf } from '../../../core/inventory.ts';
import type { Capture, Context, Finding, Sink, Source } from '../../../core/model.ts';
import { memoryParts } from '../../../core/testing.ts';
import { postgresqlDriver } from '../driver.ts';
import { type Login, SHOP, settingsFor, sql } from '../testing.ts';

export interface TestDirs extends Disposable {
  /** Of whom servers run as; it is there and empty. */
  make(name: string): string;
  /** Below a directory of whom servers run as; it is not there. */
  absent(name: string): string;
  /** Ours, and everybody may pass through. */
  open(name: string): string;
}

export function testDirs(): TestDirs {
  const owner = unprivilegedUser();
  const home = temporaryDir('physical', owner);
  const absent = (name: string): string => join(home, name);
  return {
    absent,
    make(name) {
      const dir = absent(name);
      mkdirSync(dir, { mode: 0o700 });
      if (owner) chownSync(dir, owner.uid, owner.gid);
      return dir;
    },
    open(name) {
      const dir = absent(name);
      mkdirSync(dir, { mode: 0o711 });
      chmodSync(home, 0o711);
      return dir;
    },
    [Symbol.dispose]: () => removeDir(home),
  };
}

export function physicalOf(server: Postgres, more: Record<string, unknown> = {}): Record<string, unknown> {
  return settingsFor(server, { capture: ['physical'], ...more });
}

/** Two databases, one of them in a tablespace of its own, and a table of the other there too. */
export async function fillWithTablespaces(server: Postgres, dirs: TestDirs): Promise<{ fast: string; slow: string }> {
  const places = { fast: dirs.make('fast space'), slow: dirs.make('slow') };
  await sql(server, 'postgres', `create tablespace fast location '${places.fast}'`);
  await sql(server, 'postgres', `create tablespace slow location '${places.slow}'`);
  await sql(server, 'postgres', 'create database shop', 'create database archive tablespace slow');
  await sql(
    server,
    'shop',
    SHOP,
    'create table hot tablespace fast as select g, md5(g::text) from generate_series(1, 50000) g',
  );
  await sql(
    server,
    'archive',
    'create table old as select g, repeat(md5(g::text), 8) from generate_series(1, 20000) g',
  );
  return places;
}

/** The next point of a server, with what it kept of the earlier one. `during` runs once, when the first part comes. */
export async function captureAfter(
  ctx: Context,
  settings: unknown,
  earlier: Source,
  during?: () => Promise<unknown>,
): Promise<{ source: Source; capture: Capture; kept: readonly string[] }> {
  const { sink, source } = memoryParts('it', '2026-01-02-000000');
  const kept: string[] = [];
  let waiting = during;
  const keeping: Sink = {
    ...sink,
    async put(c, name, body, meta) {
      const now = waiting;
      waiting = undefined;
      await now?.();
      return await sink.put(c, name, body, meta);
    },
    async keep(c, name, from, meta) {
      kept.push(name);
      return await sink.put(c, name, earlier.get(c, from.name), meta);
    },
  };
  const capture = await postgresqlDriver.open(settings).capture(ctx, keeping, earlier);
  return { source, capture, kept };
}

/** What was in it: rows and their sum, whatever the server and the place. */
export async function rowsOf(server: Login, database: string, table: string): Promise<unknown> {
  const sum = `select count(*)::int as n, md5(string_agg(t::text, ',' order by t::text)) as sum from ${table} t`;
  return await sql(server, database, sum);
}

/** What is not as the point says; that something was compared is asserted. */
export async function differencesIn(ctx: Context, source: Source, target: Component): Promise<Finding[]> {
  const findings = await Array.fromAsync(
    postgresqlDriver.compare(ctx, inventoryOf(source), await target.inventory(ctx)),
  );
  assert.ok(findings.some(({ check }) => check === 'files are the same'));
  return findings.filter(({ verdict }) => verdict !== 'pass');
}

// A component whose settings name a directory in place of a server: a restore makes a data directory of it.

import { hash } from 'node:crypto';
import { closeSync, existsSync, openSync, readFileSync, readlinkSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Component } from '../../../core/component.ts';
import { interruption } from '../../../core/context.ts';
import { Failure } from '../../../core/errors.ts';
import { byKindAndName } from '../../../core/inventory.ts';
import type { InventoryLine, InventoryReader, Probe } from '../../../core/model.ts';
import { mapBounded } from '../../../core/parallel.ts';
import { sorter } from '../../../core/sorter.ts';
import { exploreDirectory } from '../explore/explore.ts';
import { AUTO_CONF, SPOOL } from '../recovery/names.ts';
import { assertOwnLog } from '../recovery/own-log.ts';
import { refuseRecovery } from '../recovery/recovery.ts';
import { withoutRecovery } from '../recovery/setup.ts';
import type { DirectorySettings } from '../settings.ts';
import { type FileHasher, fileHasher } from './hash-files.ts';
import { factsIn, fileLine } from './inventory.ts';
import { MAP_FILE, SIGNAL_FILES } from './names.ts';
import { placesInWords, restoreDirectory } from './restore.ts';
import { heldIn, MARK } from './target.ts';

const READS_AT_ONCE = 4;
const CHARS_PER_LINE = 200;

export function directoryComponent(settings: DirectorySettings): Component {
  return {
    probe: async () => probe(settings),
    capture: async () => {
      throw new Failure(
        'settings-invalid',
        `postgresql: a data directory (${settings.path}) is restored, not captured`,
        {
          hint: 'name the server by url or host',
        },
      );
    },
    restore: async (ctx, chain, options = {}) => await restoreDirectory(ctx, settings, chain, options),
    explore: async (ctx, chain, options = {}) => await exploreDirectory(ctx, settings, chain, options),
    suits: async (ctx, { base, replay }) => {
      if (!replay) return;
      const facts = await factsIn(ctx, base);
      refuseRecovery(replay, facts);
      await assertOwnLog(ctx, base, replay, facts);
    },
    cautions: async (ctx, chain, options = {}) => await placesInWords(ctx, settings, chain, options),
    inventory: async () => directoryInventory(settings.path),
  };
}

function probe({ path }: DirectorySettings): Probe {
  const version = join(path, 'PG_VERSION');
  return {
    version: existsSync(version) ? readFileSync(version, 'utf8').trim() : 'of a directory',
    identity: `${hostname()}:${path}`,
    bytes: null,
    holdsData: heldIn(path),
    clockSkewMs: null,
    findings: [],
  };
}

/** Of the files as they are when it is read. */
function directoryInventory(path: string): InventoryReader {
  return {
    async *lines(ctx) {
      await using lines = sorter<InventoryLine>(ctx.scratch, 'the list of files', {
        order: byKindAndName,
        lineOf: (line) => JSON.stringify(line),
        itemOf: (line) => JSON.parse(line) as InventoryLine,
        charsOf: ({ name }) => name.length + CHARS_PER_LINE,
      });
      await using hasher = fileHasher();
      await mapBounded(walk(path, ''), READS_AT_ONCE, async (found) => {
        if (ctx.signal.aborted) throw interruption(ctx.signal);
        await lines.add([await lineOf(path, found, hasher)]);
      });
      for await (const batch of lines.sorted()) yield* batch;
    },
  };
}

interface Found {
  readonly name: string;
  readonly isFile: boolean;
}

/** Tablespaces by their links; any other link is told as what it is. */
async function* walk(root: string, folder: string): AsyncIterable<Found> {
  for (const entry of await readdir(join(root, folder), { withFileTypes: true })) {
    const name = `${folder}${entry.name}`;
    const isTablespace = folder === 'pg_tblspc/' && entry.isSymbolicLink();
    if (name === SPOOL || SIGNAL_FILES.has(name)) continue; // of the recovery that is to come
    if (entry.isDirectory() || isTablespace) yield* walk(root, `${name}/`);
    else if (entry.name !== MARK) yield { name, isFile: entry.isFile() };
  }
}

async function lineOf(root: string, { name, isFile }: Found, hasher: FileHasher): Promise<InventoryLine> {
  if (!isFile) return { kind: 'file', name, count: null, digest: 'no file' };
  const path = join(root, name);
  if (name === AUTO_CONF) {
    const own = withoutRecovery(readFileSync(path));
    return fileLine(name, own.length, hash('sha256', own));
  }
  const fd = openSync(path, 'r');
  try {
    const { bytes, sha256 } = await hasher.sumOf(fd);
    const line = fileLine(name, bytes, sha256);
    return name === MAP_FILE ? { ...line, detail: mapDetail(root, readFileSync(path, 'utf8')) } : line;
  } finally {
    closeSync(fd);
  }
}

/** Which tablespaces the map names, and whether each lies where its link leads. */
function mapDetail(root: string, text: string): { tablespaces: string[]; linked: boolean } {
  const entries = [...text.matchAll(/^(\d+) ((?:\\[\s\S]|[^\\\n\r])*)$/gm)];
  const linkOf = (oid: string): string | null => {
    const link = join(root, 'pg_tblspc', oid);
    return existsSync(link) ? readlinkSync(link) : null;
  };
  return {
    tablespaces: entries.map(([, oid = '']) => oid),
    linked: entries.every(([, oid = '', path = '']) => linkOf(oid) === path.replace(/\\([\s\S])/g, '$1')),
  };
}

// Objects in folders of plain files: each current one lies under its bucket and key, so that whoever lists and copies
// files finds it. What no file can be called by, and older versions, lie by their ids, which objects.ndjson tells.

import type { PartForm } from '../../core/driver.ts';
import { INVENTORY_PART } from '../../core/inventory.ts';
import type { Context, PartMeta, Rendition, Source } from '../../core/model.ts';
import { lineSorter } from '../../core/sorter.ts';
import { BUCKETS_PART } from './buckets.ts';
import { type Entry, entryBatches, OBJECTS_PART, partOf } from './entries.ts';

const WORD = 'minio';
/** Beside the buckets; no bucket is called so. */
const ASIDE = '_lifeboat';

/** Finds keys that are in the way of others: a file 'a' where 'a/b' needs a folder. */
export interface PlainNames {
  /** Every key, in the order of entries, before anything is asked of it. */
  see(bucket: string, key: string): void;
  pathOf(entry: Entry): readonly string[];
  metaOf(entry: Entry): PartMeta;
}

export function plainNames(): PlainNames {
  const inTheWay = new Set<string>();
  const begun: string[] = []; // each one begins as all before it; what comes between 'a' and 'a/b' begins with 'a'
  function pathOf(entry: Entry): readonly string[] {
    const { bucket, key, latest } = entry;
    const segments = key.split('/');
    const isPlain = latest && !bucket.startsWith('_') && key.isWellFormed() && segments.every(isFileName);
    if (isPlain && !isBelowFile(inTheWay, `${bucket}/${key}`)) return [bucket, ...segments];
    return [ASIDE, ...partOf(entry).split('/')];
  }
  return {
    see(bucket, key) {
      const name = `${bucket}/${key}`;
      let last = begun.at(-1);
      while (last !== undefined && !name.startsWith(last)) {
        begun.pop();
        last = begun.at(-1);
      }
      if (name === last) return;
      for (const each of begun) if (name.startsWith(`${each}/`)) inTheWay.add(each);
      begun.push(name);
    },
    pathOf,
    metaOf: (entry) => ({ rendition: objectForm(partOf(entry), pathOf(entry)) }),
  };
}

export function objectForm(part: string, path: readonly string[]): Rendition {
  return { name: part, word: WORD, item: null, alone: true, suffix: '', gzip: false, path };
}

/** Of what describes the objects. */
export function listMeta(part: string): { readonly rendition: Rendition } {
  return { rendition: { ...objectForm(part, [ASIDE, part]), gzip: part !== BUCKETS_PART } };
}

/** Of a captured point, in byte order of parts. */
export async function* renditions(ctx: Context, source: Source): AsyncIterable<PartForm> {
  const names = plainNames();
  await using forms = lineSorter(ctx.scratch, 'the list of objects');
  for await (const entries of entryBatches(ctx, source)) {
    const lines: string[] = [];
    for (const entry of entries) {
      names.see(entry.bucket, entry.key);
      if (!entry.marker) lines.push(formLine(partOf(entry), names.pathOf(entry)));
    }
    await forms.add(lines);
  }
  await forms.add([BUCKETS_PART, INVENTORY_PART, OBJECTS_PART].map((part) => formLine(part, [])));
  for await (const lines of forms.sorted()) {
    for (const line of lines) {
      const { part, path } = readFormLine(line);
      yield { part, rendition: path.length === 0 ? listMeta(part).rendition : objectForm(part, path) };
    }
  }
}

/** Sorts as the part does: a space comes before whatever a longer name goes on with. */
function formLine(part: string, path: readonly string[]): string {
  return `${part} ${JSON.stringify(path)}`;
}
function readFormLine(line: string): { readonly part: string; readonly path: readonly string[] } {
  const space = line.indexOf(' ');
  return { part: line.slice(0, space), path: JSON.parse(line.slice(space + 1)) as string[] }; // a line of our own
}

function isFileName(segment: string): boolean {
  return segment !== '' && segment !== '.' && segment !== '..';
}

function isBelowFile(files: ReadonlySet<string>, name: string): boolean {
  if (files.size === 0) return false;
  for (let at = name.indexOf('/'); at >= 0; at = name.indexOf('/', at + 1))
    if (files.has(name.slice(0, at))) return true;
  return false;
}

// Single files out of a point, as rows: told apart from what is there now, then brought back.

import { closeSync, constants, fstatSync, lstatSync, openSync, readFileSync, readlinkSync } from 'node:fs';
import { z } from 'zod';
import { readAll } from '../../core/bytes.ts';
import type { Chain } from '../../core/component.ts';
import { Failure } from '../../core/errors.ts';
import type { Context, Merged, MergeMode, Row, Selection } from '../../core/model.ts';
import { close, labelOf, openRoot, within } from '../beneath.ts';
import { explained } from '../failures.ts';
import { type Entry, entriesOf } from './entries.ts';
import { baseOf, encode, isBeneath, parentOf, partOf, segmentsOf } from './names.ts';
import { nothingChosen, wantedBy } from './selection.ts';
import type { FilesSettings } from './settings.ts';
import { stepsFrom } from './steps.ts';
import { type Place, putSymlink, putWhole } from './write.ts';

/** A row is held in memory as text. */
const FILE_BYTES_MAX = 32 * 1024 * 1024;
const DIRECTORY_MODE = 0o755;

const fileSchema = z.strictObject({
  type: z.literal('file'),
  mode: z.number().int().min(0).max(0o7777),
  uid: z.number().int(),
  gid: z.number().int(),
  mtime_ns: z.string().regex(/^-?\d{1,21}$/),
  bytes: z.number().int(),
  sha256: z.hex(),
  content: z.base64(),
});
const symlinkSchema = fileSchema
  .pick({ mode: true, uid: true, gid: true, mtime_ns: true })
  .extend({ type: z.literal('symlink'), target: z.string() });
const valueSchema = z.discriminatedUnion('type', [fileSchema, symlinkSchema]);
type Value = z.output<typeof valueSchema>;

export async function* extract(ctx: Context, chain: Chain, selection: Selection): AsyncIterable<Row> {
  const wanted = wantedBy(selection);
  let found = false;
  for await (const { name, type, ...entry } of entriesOf(ctx, chain.base)) {
    if (!wanted(name)) continue;
    found = true;
    const { mode, uid, gid, mtime_ns, bytes = 0, sha256 = '', target = '' } = entry;
    const common = { mode, uid, gid, mtime_ns };
    if (type === 'symlink') yield { key: name, value: { ...common, type, target } satisfies Value };
    if (type !== 'file' && type !== 'hardlink') continue;
    if (bytes > FILE_BYTES_MAX) {
      throw new Failure('value-too-large', `${name} is too large to be extracted as a row (${bytes} bytes)`, {
        hint: 'restore it by itself with `lifeboat restore --select`',
      });
    }
    const body = chain.base.get(ctx, partOf(type === 'file' ? name : target));
    const content = (await readAll(body)).toString('base64');
    yield { key: name, value: { ...common, type: 'file', bytes, sha256, content } satisfies Value };
  }
  if (!found) throw nothingChosen(selection);
}

export async function merge(
  ctx: Context,
  settings: FilesSettings,
  rows: AsyncIterable<Row>,
  mode: MergeMode,
): Promise<Merged> {
  const merged = { missing: 0, different: 0, same: 0, applied: 0 };
  const root = openRoot(settings.root);
  try {
    for await (const row of rows) {
      ctx.signal.throwIfAborted();
      const value = parseRow(settings, row);
      const steps = stepsFrom(root, mode === 'preview' ? {} : { modeOf: () => DIRECTORY_MODE });
      try {
        const parent = steps.to(parentOf(row.key));
        const place: Place | null = parent && { dir: parent.dir, name: baseOf(row.key), overwrite: true };
        const state = place ? compare(place, value) : 'missing';
        merged[state] += 1;
        const wanted = state === 'missing' ? mode !== 'preview' : state === 'different' && mode === 'overwrite';
        if (!wanted || !place) continue;
        apply({ ...place, overwrite: state === 'different' }, row.key, value);
        merged.applied += 1;
      } finally {
        steps.end();
      }
    }
  } finally {
    close(root);
  }
  return merged;
}

function parseRow({ paths }: FilesSettings, { key, value }: Row): Value {
  segmentsOf(key);
  if (!paths.some((path) => isBeneath(key, encode(Buffer.from(path))))) {
    throw new Failure('different', `${key} is outside of the paths of this component`);
  }
  try {
    return valueSchema.parse(value);
  } catch (cause) {
    throw new Failure('malformed', `the row ${key} is not a file`, { cause });
  }
}

/** Times do not matter here either. */
function compare(place: Place, value: Value): 'missing' | 'different' | 'same' {
  const path = within(place.dir, place.name);
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (!there) return 'missing';
  if (value.type === 'symlink') {
    return there.isSymbolicLink() && encode(readlinkSync(path, 'buffer')) === value.target ? 'same' : 'different';
  }
  const alike = there.isFile() && there.size === value.bytes && (there.mode & 0o7777) === value.mode;
  return alike && contentOf(place).equals(Buffer.from(value.content, 'base64')) ? 'same' : 'different';
}

function contentOf(place: Place): Buffer {
  try {
    const fd = openSync(
      within(place.dir, place.name),
      constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
    );
    try {
      return fstatSync(fd).isFile() ? readFileSync(fd) : Buffer.alloc(0);
    } finally {
      closeSync(fd);
    }
  } catch (cause) {
    throw explained(labelOf(place.dir, place.name), cause);
  }
}

function apply(place: Place, name: string, value: Value): void {
  const { mode, uid, gid, mtime_ns } = value;
  const common = { name, mode, uid, gid, mtime_ns };
  if (value.type === 'symlink') {
    putSymlink(place, { ...common, type: 'symlink', target: value.target });
    return;
  }
  const { bytes, sha256, content } = value;
  const entry = { ...common, type: 'file', bytes, sha256 } satisfies Entry;
  putWhole(place, entry, Buffer.from(content, 'base64'));
}

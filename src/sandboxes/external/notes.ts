// Which drills have a staging service in use, noted in the store that they restore from: who is killed leaves the note,
// and the next drill learns from it what it may clear away.

import { createHash, randomUUID } from 'node:crypto';
import { z } from 'zod';
import { outliving } from '../../core/context.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import { identityOf, isGone, processIdentitySchema } from '../../core/liveness.ts';
import type { Context, InventoryLine, Json } from '../../core/model.ts';
import type { Records } from '../../core/storage.ts';

const NOTE_MS_MAX = 10_000;

const lineSchema = z.object({ kind: z.string(), name: z.string(), count: z.number().nullable() });
const noteSchema = z.object({
  point: z.string(),
  process: processIdentitySchema.nullable(),
  noted_at: z.string(),
  /** What the empty service held all the same (roles, empty buckets); null until it was seen to be empty. */
  before: z.array(lineSchema).nullable(),
  /** A restore was begun: without one nothing that is there was brought by this drill. */
  begun: z.boolean().default(false),
  /** Its drill is over and could not clear it away. */
  left: z.boolean().default(false),
});
export type KnownLine = z.output<typeof lineSchema>;

export interface StagingNote {
  readonly id: string;
  readonly point: string;
  readonly before: readonly KnownLine[] | null;
  readonly begun: boolean;
}

export interface StagingNotes {
  /**
   * Takes the service for a drill of `point`; `left` are the notes of drills that are over and did not clear it.
   * 'locked' when another one may be going on, or takes it at the same time.
   */
  take(point: string): Promise<{ readonly note: StagingNote; readonly left: readonly StagingNote[] }>;
  /** It was seen to be empty, but for these. */
  seenEmpty(note: StagingNote, before: readonly InventoryLine[]): Promise<StagingNote>;
  /** Before the first byte is restored. */
  begin(note: StagingNote): Promise<StagingNote>;
  strike(note: StagingNote): Promise<void>;
  /** Its drill is over, and what it brought is still there: for the next one. */
  leave(note: StagingNote): Promise<void>;
}

/** Of one component's staging service. */
export function stagingNotes(ctx: Context, records: Records, component: string, identity: string): StagingNotes {
  const folder = `${component}/${createHash('sha256').update(identity).digest('hex').slice(0, 16)}/`;
  async function readAll(): Promise<{ note: StagingNote; over: boolean }[]> {
    const found: { note: StagingNote; over: boolean }[] = [];
    for (const id of await Array.fromAsync(records.list(ctx, 'staging', folder))) {
      const read = await readIfThere(ctx, records, id);
      if (!read) continue;
      const over = read.left || (await isGone(read.process, new Date(read.noted_at), ctx.now()));
      found.push({ note: { id, point: read.point, before: read.before, begun: read.begun }, over });
    }
    return found;
  }
  const busy = (): Failure =>
    new Failure('locked', `the staging service of ${component} is in use by another drill`, {
      hint: 'wait for it; one of another machine counts as over after a day',
    });
  const put = async ({ id, point, before, begun }: StagingNote, left = false): Promise<void> => {
    const owner = await identityOf(process.pid);
    const json: Json = {
      point,
      process: owner,
      noted_at: ctx.now().toISOString(),
      before: before && [...before],
      begun,
      left,
    };
    await records.put(left ? patient(ctx) : ctx, 'staging', id, json);
  };
  return {
    async take(point) {
      const note: StagingNote = { id: `${folder}${randomUUID()}`, point, before: null, begun: false };
      await put(note);
      // Of two that take it at the same moment at least one sees the other, and whoever does so leaves it.
      const others = (await readAll()).filter((each) => each.note.id !== note.id);
      if (others.some(({ over }) => !over)) {
        await records.delete(ctx, 'staging', note.id);
        throw busy();
      }
      return { note, left: others.map((each) => each.note) };
    },
    async seenEmpty(note, lines) {
      const seen = { ...note, before: lines.map(({ kind, name, count }) => ({ kind, name, count })) };
      await put(seen);
      return seen;
    },
    async begin(note) {
      const begun = { ...note, begun: true };
      await put(begun);
      return begun;
    },
    strike: (note) => records.delete(patient(ctx), 'staging', note.id),
    leave: (note) => put(note, true),
  };
}

async function readIfThere(ctx: Context, records: Records, id: string): Promise<z.output<typeof noteSchema> | null> {
  try {
    return noteSchema.parse(await records.get(ctx, 'staging', id));
  } catch (error) {
    if (isFailure(error, 'missing')) return null; // its drill has just ended
    throw error;
  }
}

/** Also for a user who has broken off. */
function patient(ctx: Context): Context {
  return outliving(ctx, NOTE_MS_MAX);
}

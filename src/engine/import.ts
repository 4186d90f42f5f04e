// Makes recovery points of the folders that older scripts wrote. Their files stay as they are.

import { Failure } from '../core/errors.ts';
import type { Context } from '../core/model.ts';
import type { Adopted } from '../core/storage.ts';
import type { NamedStore, StackComponent } from './model.ts';

export interface ImportRequest {
  readonly stack: string;
  readonly store: NamedStore;
  /** Whose files are looked for. */
  readonly components: readonly StackComponent[];
  /** The zone of the stamps in file names; dated folders are in UTC. */
  readonly timeZone: string;
  /** The plan whose keep rules hold for the points; null keeps them until somebody removes them. */
  readonly plan: string | null;
  /** Only the point of this id. */
  readonly id?: string | undefined;
  /** Only points later than this id. */
  readonly after?: string | undefined;
  /** For those who stop at the first that they can use. */
  readonly newestFirst?: boolean | undefined;
}

/** Each moment that files lie there for; those that are points already are left out. */
export async function* importFolders(ctx: Context, request: ImportRequest): AsyncIterable<Adopted> {
  const { store, name } = request.store;
  if (!store.adopt) {
    throw new Failure('settings-invalid', `store ${name} holds no files of other programs`, {
      hint: 'import into a store of format plain whose bucket is the folder of the old backups',
    });
  }
  const components = request.components.map(({ name: component, kind, driver }) => {
    const { recognise, recogniseFolder } = driver;
    const known = { ...(recognise ? { recognise } : {}), ...(recogniseFolder ? { recogniseFolder } : {}) };
    return { name: component, kind, ...known };
  });
  const { stack, timeZone, plan, id, after, newestFirst = false } = request;
  const range = { ...(id === undefined ? {} : { id }), ...(after === undefined ? {} : { after }), newestFirst };
  yield* store.adopt(ctx, { stack, components, timeZone, plan, ...range });
}

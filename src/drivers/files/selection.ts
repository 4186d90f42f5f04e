import { Failure } from '../../core/errors.ts';
import type { Selection } from '../../core/model.ts';
import { selector } from './glob.ts';

/** Tells whether a name is chosen; without a selection all are. */
export function wantedBy(select: Selection | undefined): (name: string) => boolean {
  if (!select) return () => true;
  const { paths, ...foreign } = select;
  const [field] = Object.keys(foreign);
  if (field !== undefined) throw new Failure('settings-invalid', `files are not chosen by ${field}, but by paths`);
  if (!paths || paths.length === 0) throw new Failure('settings-invalid', 'say which paths of the files are meant');
  return selector(paths);
}

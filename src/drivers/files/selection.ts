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

/** Who chooses what is not there has most often mistyped it. */
export function nothingChosen({ paths = [] }: Selection): Failure {
  return new Failure('missing', `the point holds no file at ${paths.join(', ')}`, {
    hint: "write it from the root, or as a pattern such as '**/*.conf'",
  });
}

// What part of a Redis is meant by a selection of the command line.

import { Failure } from '../../core/errors.ts';
import type { Selection } from '../../core/model.ts';
import { refuseForeign } from '../../core/selection.ts';
import type { KeySelection } from './rdb/select.ts';
import type { Settings } from './settings.ts';

export function selectionOf({ databases }: Settings, selection: Selection): KeySelection {
  refuseForeign('redis', selection, ['database', 'keys'], 'choose by keys (patterns such as session:*) and database');
  const { database, keys } = selection;
  if (database === undefined) return { databases, patterns: keys ?? null };
  const number = Number(/^(?:db)?(\d{1,6})$/.exec(database)?.[1]);
  if (Number.isNaN(number)) throw new Failure('usage', `${database} is no database of redis: they have numbers`);
  if (databases && !databases.includes(number)) {
    throw new Failure('usage', `database ${number} is not among those of this component: ${databases.join(', ')}`);
  }
  return { databases: [number], patterns: keys ?? null };
}

// What is told to who explores: where the server stands, and what a query answers; for people and as JSON.

import type { Answer, Stand } from '../core/component.ts';
import { inTime } from '../core/times.ts';
import type { Exploration } from '../engine/explore.ts';
import { plural, table } from './terminal.ts';

const CELL_CHARS_MAX = 100;

interface Told {
  readonly exploration: Exploration;
  readonly stand: Stand;
  readonly warnings?: readonly string[];
  readonly notes?: readonly string[];
  /** The last moment that is stored. */
  readonly end?: number | null;
}

export function standJson({ exploration, stand, warnings, notes, end }: Told): object {
  return {
    event: stand.writes === null ? 'standing' : 'promoted',
    component: exploration.name,
    point: exploration.point.id,
    wanted: exploration.wanted(),
    position: stand.position,
    last_change: stand.lastChange,
    writes: stand.writes,
    access: exploration.access(),
    ...(end === undefined ? {} : { stored_up_to: end === null ? null : new Date(end).toISOString() }),
    notes: [...(notes ?? []), ...stand.notes],
    ...(warnings ? { warnings } : {}),
  };
}

export function standText({
  exploration,
  stand,
  notes = [],
  end,
  isAccessShown,
}: Told & { readonly isAccessShown: boolean }): string {
  const { name } = exploration;
  const change = stand.lastChange === null ? '' : `, last change ${stand.lastChange}`;
  const state =
    stand.writes === null
      ? `${name} stands at ${exploration.wanted()}${change}, at ${stand.position} in its log; it takes no writes`
      : `${name} takes writes: its log goes on from ${stand.position} as ${stand.writes}${change}`;
  const anew =
    `to take over, it is left (quit), which stops it and says how it is started, and ${name} in the configuration leads ` +
    'to it: lifeboat follow then begins a log of its own there';
  return [
    ...[...notes, ...stand.notes].map((note) => `note: ${note}`),
    state,
    ...(end == null ? [] : [`what is stored goes to ${inTime(end)}`]),
    ...(isAccessShown ? ['to connect:', ...exploration.access().map((line) => `  ${line}`)] : []),
    ...(stand.writes === null ? [] : [anew]),
  ].join('\n');
}

export function answerJson({ columns, rows, more }: Answer): object {
  return { event: 'rows', columns, rows, more };
}

/** What is NULL is an empty cell. */
export function answerText({ columns, rows, more }: Answer): string {
  const short = (cell: string | null): string =>
    cell !== null && cell.length > CELL_CHARS_MAX ? `${cell.slice(0, CELL_CHARS_MAX)}…` : (cell ?? '');
  const count = more ? `the first ${plural(rows.length, 'row')}` : plural(rows.length, 'row');
  return [
    table(
      columns.map((title) => ({ title })),
      rows.map((row) => row.map(short)),
    ),
    count,
  ].join('\n');
}

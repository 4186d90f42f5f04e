// Settings of an index: which of them mean something elsewhere, and which wait until its documents are there.

import type { Json } from '../../core/model.ts';

type Fields = Readonly<Record<string, Json>>;

/** The server's own, or about where an index lies and came from. */
const OWN = [
  'index.uuid',
  'index.creation_date',
  'index.creation_date_string',
  'index.provided_name',
  'index.version.',
  'index.history.uuid',
  'index.resize.',
  'index.shrink.',
  'index.split.',
  'index.routing.allocation.initial_recovery.',
  'index.verified_before_close',
  'index.frozen',
  'index.search.throttled',
  'index.store.snapshot.',
  'index.remote_store.',
  'index.lifecycle.indexing_complete',
  'index.lifecycle.step.',
];
/** Would hinder the documents, change them, or only make it slow: set when they are there. */
const LATER = [
  'index.refresh_interval',
  'index.number_of_replicas',
  'index.auto_expand_replicas',
  'index.translog.durability',
  'index.default_pipeline',
  'index.final_pipeline',
  'index.routing.allocation.',
  'index.lifecycle.',
  'index.opendistro.index_state_management.',
  'index.plugins.index_state_management.',
  'index.search.idle.',
];
/** Would keep aliases away as well. */
const LAST = ['index.blocks.'];
const WHILE_LOADING: Fields = {
  'index.refresh_interval': '-1',
  'index.number_of_replicas': '0',
  'index.auto_expand_replicas': 'false',
  'index.translog.durability': 'async',
};

export function portableSettings<T>(settings: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(settings).filter(([name]) => !isAmong(OWN, name)));
}

/** What an index is made with, what it is told once its documents are there, and what when all else is done. */
export function splitSettings(settings: Fields): Readonly<Record<'first' | 'later' | 'last', Record<string, Json>>> {
  const first: Record<string, Json> = {};
  const later: Record<string, Json> = {};
  const last: Record<string, Json> = {};
  for (const [name, value] of Object.entries(settings)) {
    (isAmong(LAST, name) ? last : isAmong(LATER, name) ? later : first)[name] = value;
  }
  const reset = Object.fromEntries(Object.keys(WHILE_LOADING).map((name) => [name, null]));
  return { first: { ...first, ...WHILE_LOADING }, later: { ...reset, ...later }, last };
}

function isAmong(list: readonly string[], name: string): boolean {
  return list.some((each) => (each.endsWith('.') ? name.startsWith(each) : name === each));
}

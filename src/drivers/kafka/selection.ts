// What part of a point a restore is about, and under which names it comes back.

import { Failure } from '../../core/errors.ts';
import type { InventoryLine, RestoreOptions, Selected, Selection } from '../../core/model.ts';
import { matcher, refuseForeign } from '../../core/selection.ts';
import { type ClusterFacts, isOfTopic, type TopicFacts } from './facts.ts';
import { nameOfAcl } from './lines.ts';
import type { Window } from './load.ts';
import type { Settings } from './settings.ts';

export interface Chosen {
  readonly topics: readonly ChosenTopic[];
  readonly window: Window | null;
  /** Everything that the component covers. */
  readonly isWhole: boolean;
  /** By the name in the point. */
  readonly names: ReadonlyMap<string, string>;
}
export interface ChosenTopic extends TopicFacts {
  readonly target: string;
}

const SHOWN = 10;

export function chosenOf(settings: Settings, facts: ClusterFacts, options: RestoreOptions): Chosen {
  const { select = {}, rename = {}, delta } = options;
  refuseForeign('kafka', select, ['topics', 'since', 'until'], 'choose by topics (patterns such as shop.*) or time');
  if (delta) throw new Failure('usage', 'kafka: records can not be added to a topic that has some: no delta');
  const wanted = matcher(select.topics ?? ['*']);
  const topics = facts.topics
    .filter(({ name }) => settings.covers(name) && wanted(name))
    .map((topic) => ({ ...topic, target: rename[topic.name] ?? topic.name }));
  const names = new Map(topics.map(({ name, target }) => [name, target]));
  const unknown = Object.keys(rename).find((name) => !names.has(name));
  if (unknown !== undefined)
    throw new Failure('usage', `the point has no topic ${unknown} that could get another name`);
  if (topics.length === 0 && select.topics) {
    throw new Failure('missing', `the point has no topic that matches ${select.topics.join(', ')}`);
  }
  if (new Set(names.values()).size < names.size) throw new Failure('usage', 'two topics would come back as one');
  const wrong = [...names.values()].find((name) => !/^[\w.-]{1,249}$/.test(name) || /^\.\.?$/.test(name));
  if (wrong !== undefined) throw new Failure('usage', `'${wrong}' is no name for a topic`);
  const window = windowOf(select);
  return { topics, window, names, isWhole: select.topics === undefined && window === null };
}

/** Of a time range only the settings of topics: what the point counts is whole partitions. */
export function selectedOf(settings: Settings, facts: ClusterFacts, { names, window }: Chosen): Selected {
  const own = facts.acls.filter((acl) => settings.acls && isOfTopic(acl) && names.has(acl.resource_name));
  const acls = new Set(own.map(nameOfAcl));
  const has = ({ kind, name }: InventoryLine): boolean => {
    const [, group = '', topic = ''] = /^(?:(.*)\/)?([^/]+)\/\d+$/s.exec(name) ?? [];
    if (kind === 'topic') return names.has(name);
    if (kind === 'partition') return window === null && names.has(topic);
    if (kind === 'group') return window === null && names.has(topic) && settings.coversGroup(group);
    return kind === 'facts' || acls.has(name);
  };
  const part = 'records of a time range, and groups among them: the point counts those of whole partitions';
  return { has, uncompared: window === null ? null : part };
}

function windowOf({ since, until }: Selection): Window | null {
  if (since === undefined && until === undefined) return null;
  const window = { since: timeOf(since) ?? Number.NEGATIVE_INFINITY, until: timeOf(until) ?? Number.POSITIVE_INFINITY };
  if (window.since < window.until) return window;
  throw new Failure('usage', `no time lies from ${since} to before ${until}`);
}

function timeOf(text: string | undefined): number | null {
  if (text === undefined) return null;
  const time = Date.parse(text);
  if (Number.isNaN(time)) throw new Failure('usage', `'${text}' is no time`);
  return time;
}

/** Names, for messages. */
export function listed(names: readonly string[], between = ', '): string {
  const more = names.length > SHOWN ? ` and ${names.length - SHOWN} more` : '';
  return `${names.slice(0, SHOWN).join(between)}${more}`;
}

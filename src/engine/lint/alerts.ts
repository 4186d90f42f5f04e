// Rules about alerts: what they wait for, and whether anybody ever emits it.

import { nearest } from '../../core/settings.ts';
import { MAYBE, NEVER, type Outcome, outcomeOf } from './firing.ts';
import type { Metric, Query } from './promql.ts';
import { type AlertSetup, type Found, listed, type Setup } from './setup.ts';

/** Prometheus makes these itself: of its targets, and of its alerts. */
const OWN = ['up', 'scrape_*', 'ALERTS', 'ALERTS_FOR_STATE'];
const AT = ['alerts', 'rules'];
/** Recording rules of recording rules. */
const RECORDS_DEEP_MAX = 100;
const INSTEAD =
  'Lifeboat emits no metrics: of backups, alert when lifeboat status ends with anything but 0, or hand age_ms and ' +
  'loss_ms of its --json to an exporter';

/** An alert that says nothing, whatever happens. */
export function* unknownMetric({ alerts }: Setup): Generator<Found> {
  const emitted = emittedBy(alerts);
  for (const rule of alerts.rules) {
    if (!rule.isAlert || !rule.query) continue;
    const missing = missingIn(rule.query, emitted);
    if (missing.length === 0) continue;
    const { has } = outcomeOf(rule.query, emitted.outcome);
    const names = missing.map((name) => ({ name, near: nearest(name, emitted.names) }));
    const near = names.flatMap((each) => (each.near === null ? [] : `${each.near} instead of ${each.name}?`));
    yield {
      at: AT,
      place: { file: rule.file, line: rule.line },
      why: `alert ${rule.name} is about ${listed(missing)}, which nobody is known to emit: ${CONSEQUENCES[has]}`,
      change: [],
      advice: [...near, `add ${listed(missing)} to alerts.emitted if something does emit it`, INSTEAD].join('; '),
    };
  }
}

const CONSEQUENCES = {
  never: 'it can never fire',
  always: 'it fires for ever',
  maybe: 'it fires, or not, as if that part of it were not there',
};

/** Prometheus refuses the whole file, with all other alerts in it. */
export function* malformedRule({ alerts }: Setup): Generator<Found> {
  for (const rule of alerts.rules) {
    if (rule.problem === null) continue;
    yield {
      at: AT,
      place: { file: rule.file, line: rule.line },
      why:
        `the expression of ${rule.name} is no PromQL (${rule.problem}): Prometheus refuses the file, and none of its ` +
        'alerts is there',
      change: [],
      advice: `correct it, and try promtool check rules ${rule.file}`,
    };
  }
}

/** The alerts of which nobody can tell here what they are about. */
export function* unclearAlerts({ alerts }: Setup): Generator<{ readonly name: string; readonly why: string }> {
  for (const { name, isAlert, query, problem } of alerts.rules) {
    if (!isAlert || problem !== null) continue;
    if (!query) yield { name, why: 'its expression is nested too deep' };
    else if (metricsIn(query).includes('unclear')) {
      yield { name, why: 'only a regular expression says what it is about' };
    }
  }
}

interface Emitted {
  /** Those that are known by their whole name. */
  readonly names: readonly string[];
  outcome(metric: Metric): Outcome;
  /** What it is recorded from by those that emit nothing else of this name. */
  recorded(name: string): readonly Query[];
  /** The names of recording rules that begin so. */
  records(prefix: string): readonly string[];
}

function emittedBy({ emitted, rules }: AlertSetup): Emitted {
  const known = [...OWN, ...emitted];
  const made = Map.groupBy(
    rules.filter(({ isAlert }) => !isAlert),
    ({ name }) => name,
  );
  const isKnown = (name: string): boolean =>
    known.some((each) => covers(each, name)) || (made.get(name) ?? []).some(({ query }) => query === null);
  const recorded = (name: string): readonly Query[] => {
    return isKnown(name) ? [] : (made.get(name) ?? []).flatMap(({ query }) => query ?? []);
  };
  const records = (prefix: string): readonly string[] => [...made.keys()].filter((name) => name.startsWith(prefix));
  const outcomes = new Map<string, Outcome>();
  let depth = 0;
  const ofName = (name: string): Outcome => {
    const found = outcomes.get(name);
    if (found) return found;
    if (isKnown(name) || depth > RECORDS_DEEP_MAX) return MAYBE;
    outcomes.set(name, NEVER); // what is recorded from itself alone is never there
    depth += 1;
    const whole = { ...either(recorded(name).map((query) => outcomeOf(query, outcome))), isScalar: false };
    depth -= 1;
    outcomes.set(name, whole);
    return whole;
  };
  const outcome = (metric: Metric): Outcome => {
    if (typeof metric === 'string') return MAYBE;
    if ('names' in metric) return either(metric.names.map(ofName));
    const isMet = known.some((each) => meets(each, metric.prefix));
    return isMet ? MAYBE : either(records(metric.prefix).map(ofName));
  };
  const names = [...emitted.filter((name) => !name.endsWith('*')), ...made.keys()];
  return { names, outcome, recorded, records };
}

/** Of several series of one name, each comes and goes by itself. */
function either(outcomes: readonly Outcome[]): Outcome {
  const there = outcomes.filter(({ has }) => has !== 'never');
  const [first = NEVER, ...others] = there;
  if (others.length === 0) return first;
  const always = there.find(({ has }) => has === 'always');
  return always ? { ...always, value: null } : MAYBE;
}

/** The names that are not there; those of recording rules are followed to what these are about. */
function missingIn(query: Query, emitted: Emitted): readonly string[] {
  const seen = new Set<string>();
  const ofName = (name: string, deep: number): readonly string[] => {
    if (seen.has(name) || deep > RECORDS_DEEP_MAX) return [];
    seen.add(name);
    const below = emitted.recorded(name).flatMap((each) => ofQuery(each, deep + 1));
    return below.length > 0 || emitted.outcome({ names: [name] }).has !== 'never' ? below : [name];
  };
  const ofQuery = (each: Query, deep: number): readonly string[] =>
    metricsIn(each).flatMap((metric) => {
      if (typeof metric === 'string') return [];
      const names = 'names' in metric ? metric.names : emitted.records(metric.prefix);
      const isThere = emitted.outcome(metric).has !== 'never';
      if (names.length === 0) return isThere || !('prefix' in metric) ? [] : [`${metric.prefix}*`];
      // Of several names it is enough that one is there.
      const missing = names.flatMap((name) => ofName(name, deep));
      return isThere && names.length > 1 ? [] : missing;
    });
  return [...new Set(ofQuery(query, 0))];
}

function metricsIn(query: Query): readonly Metric[] {
  switch (query.type) {
    case 'selector':
      return [query.metric];
    case 'call':
    case 'aggregate':
      return query.args.flatMap(metricsIn);
    case 'binary':
      return [query.left, query.right].flatMap(metricsIn);
    case 'negative':
      return metricsIn(query.of);
    case 'literal':
      return [];
  }
}

function covers(emitted: string, name: string): boolean {
  return emitted.endsWith('*') ? name.startsWith(emitted.slice(0, -1)) : emitted === name;
}

/** Whether one of what is emitted may begin so. */
function meets(emitted: string, prefix: string): boolean {
  return emitted.startsWith(prefix) || (emitted.endsWith('*') && prefix.startsWith(emitted.slice(0, -1)));
}

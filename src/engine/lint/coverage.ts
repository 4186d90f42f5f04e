// Rules about what is captured at all, and what is promised for it.

import {
  type ComponentSetup,
  type Found,
  freeName,
  listed,
  type PlanSetup,
  plansOf,
  type Setup,
  timed,
} from './setup.ts';
import { addressesOf, liesElsewhere } from './where.ts';

/** No schedule ever captures it. */
export function* notCaptured(setup: Setup): Generator<Found> {
  for (const { name } of setup.components) {
    if (setup.gap(plansOf(setup, name))) continue;
    const by = setup.plans.filter(({ components }) => components.includes(name));
    const named = by.map((plan) => plan.name);
    const why =
      by.length === 0
        ? 'no plan captures it: it is in no point, and a drill of everything is unknown because of it'
        : `plan ${listed(named)} captures it, but never by itself: no schedule of it comes`;
    yield { at: ['components', name], why, ...capturing(setup, by[0]) };
  }
}

/** Nobody said how much of it may be lost, or how long it may be gone. */
export function* noTier({ components, tiers }: Setup): Generator<Found> {
  for (const { name, tier } of components) {
    const found = tiers.find((each) => each.name === tier);
    if (found && (found.rpoMs !== null || found.rtoMs !== null)) continue;
    const why = tier === null ? 'nothing is promised for it' : `its tier ${tier} promises neither rto nor rpo`;
    const of = tier === null ? `components.${name}.tier: NAME` : `tiers.${tier}: { rto: 4h, rpo: 1d }`;
    yield {
      at: tier === null ? ['components', name] : ['tiers', tier],
      why: `${why}, so no drill can miss it and no status is late`,
      change: [],
      advice: `say what its owner can bear: ${of}`,
    };
  }
}

/** It promises something that holds for nothing. */
export function* unusedTier({ components, tiers }: Setup): Generator<Found> {
  for (const { name } of tiers) {
    if (components.some(({ tier }) => tier === name)) continue;
    yield {
      at: ['tiers', name],
      why: 'no component is in it, so what it promises holds for nothing',
      change: [{ path: ['tiers', name], to: undefined }],
      advice: 'or name it in the components that it was meant for',
    };
  }
}

/** Two components that hold the same data: it is stored twice, and restored over itself. */
export function* capturedTwice({ components }: Setup): Generator<Found> {
  for (const [at, later] of components.entries()) {
    const earlier = components.slice(0, at).find((each) => isSameData(each, later));
    if (!earlier) continue;
    yield {
      at: ['components', later.name],
      why:
        `what it holds is in ${earlier.name}, too: it is captured twice, and when everything is restored, the second ` +
        'of them finds the data of the first in its way',
      change: [],
      advice: `leave one of them out, or let each have its own ${SCOPES[later.kind]?.join(', ') ?? 'part'}`,
    };
  }
}

/** A search cluster of which nothing but its own snapshots is kept. */
export function* snapshotOnly({ components }: Setup): Generator<Found> {
  const search = components.filter(({ kind }) => kind === 'elasticsearch');
  const told: ComponentSetup[] = [];
  for (const component of search.filter(liesElsewhere)) {
    const isHere = (other: ComponentSetup): boolean => isSameServer(other, component);
    if (told.some(isHere) || search.some((other) => !liesElsewhere(other) && isHere(other))) continue;
    told.push(component);
    yield {
      at: ['components', component.name, 'method'],
      why:
        'nothing but snapshots is kept of this cluster: its documents lie in repositories of its own, unencrypted by ' +
        'us, copy takes them nowhere, and a drill of it is unknown at best',
      change: [{ path: ['components', component.name, 'method'], to: 'export' }],
      advice: 'or add a component of the same url with method export, in a plan that runs less often',
    };
  }
}

/** The keys that say which part of a service is meant; all of it where they are left out. */
const SCOPES: Readonly<Record<string, readonly string[]>> = {
  postgresql: ['databases'],
  redis: ['databases'],
  s3: ['buckets'],
  elasticsearch: ['indices'],
  kafka: ['topics'],
  zookeeper: ['root'],
  loki: ['selector', 'tenant'],
  files: ['paths'],
};
/** What these name has all in it that lies below. */
const TREES: readonly string[] = ['paths', 'root'];
/** Where an address names none, and its scheme none either. */
const PORTS: Readonly<Record<string, string>> = { postgresql: '5432', redis: '6379', kafka: '9092', zookeeper: '2181' };
const PLACES: readonly string[] = ['url', 'host', 'endpoint', 'hosts', 'brokers'];

function isSameData(a: ComponentSetup, b: ComponentSetup): boolean {
  if (a.kind !== b.kind || (a.kind !== 'files' && !isSameServer(a, b))) return false;
  // The points of two repositories are told apart by their components.
  if (liesElsewhere(a) || liesElsewhere(b)) return false;
  return (SCOPES[a.kind] ?? []).every((key) => {
    const [some, others] = [scopeOf(a, key), scopeOf(b, key)];
    if (some === null || others === null) return true;
    return some.some((one) => others.some((other) => overlaps(one, other, TREES.includes(key))));
  });
}

/** Of one kind. What only a reference says is the same where it is the same reference. */
function isSameServer({ kind, written: a }: ComponentSetup, { written: b }: ComponentSetup): boolean {
  if ([...PLACES, 'port'].every((key) => String(a[key]) === String(b[key]))) return true;
  const [some, others] = [a, b].map((written) =>
    addressesOf(written).map(({ host, port }) => `${host}:${port || PORTS[kind]}`),
  );
  return some?.some((each) => others?.includes(each)) ?? false;
}

/** Null: all of it. Empty where something is left out: what is meant can't be told from names then. */
function scopeOf({ kind, written }: ComponentSetup, key: string): readonly string[] | null {
  const { url, hosts, exclude } = written;
  const inUrl =
    key === 'databases' && kind === 'postgresql' ? /^[^/]*\/\/[^/]*\/([^?]+)/.exec(String(url))?.[1] : undefined;
  const chroot = key === 'root' ? (/\/.*/.exec(String(hosts))?.[0] ?? '') : '';
  const value = written[key] ?? inUrl;
  if (exclude !== undefined) return [];
  if (value === undefined || value === 'all' || value === '/') return chroot === '' ? null : [chroot];
  const names = [value].flat().map((each: unknown) => {
    if (typeof each !== 'object' || each === null) return chroot + String(each);
    const { name, prefix = '' } = each as { readonly name?: unknown; readonly prefix?: unknown };
    return 'exclude' in each ? '-' : `${String(name)}/${String(prefix)}`;
  });
  if (names.some((name) => name.startsWith('-'))) return [];
  return names.some((name) => name === '*' || name === '/') ? null : names;
}

function overlaps(one: string, other: string, isTree: boolean): boolean {
  if (isTree) return `${one}/`.startsWith(`${other}/`) || `${other}/`.startsWith(`${one}/`);
  const [a, b] = [one, other].map((each) => each.split('/'));
  // Of buckets with prefixes: the bucket is the same, and one prefix begins with the other.
  const [prefix = '', another = ''] = [a, b].map((each) => each?.slice(1).join('/') ?? '');
  return a?.[0] === b?.[0] && (prefix.startsWith(another) || another.startsWith(prefix));
}

/** The plan that is there gets it, else one is made. */
function capturing(setup: Setup, own: PlanSetup | undefined): Pick<Found, 'change' | 'advice'> {
  const schedule = '0 2 * * *';
  if (own) return { change: [{ path: ['plans', own.name, 'schedule'], to: schedule }] };
  const [plan] = timed(setup.plans).toSorted((a, b) => b.components.length - a.components.length);
  // All that no plan has at once: one change makes up for all of them.
  const all = setup.components.map((each) => each.name);
  const missing = all.filter((each) => !setup.plans.some(({ components }) => components.includes(each)));
  if (plan) return { change: [{ path: ['plans', plan.name, 'components'], to: [...plan.components, ...missing] }] };
  return { change: [{ path: ['plans', freeName(setup.plans, 'nightly')], to: { schedule, components: missing } }] };
}

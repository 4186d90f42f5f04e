// Where components and stores lie, as far as the configuration says it.

import { type Address, addressesIn } from '../../core/addresses.ts';
import { PLACEHOLDER } from '../../core/settings.ts';
import { type ComponentSetup, plansOf, type Setup, type StoreSetup, type Written } from './setup.ts';

/** A name for this machine, as `addressesIn` has it. */
const HERE = 'localhost';
/** Stands for what only a reference knows; it can be a host as well as a port. */
const REFERRED = '59999';

/** What is lost together has the same name. Null where only a reference says it. */
function placesOf({ kind, written }: ComponentSetup): readonly string[] | null {
  if (kind === 'files') return [HERE];
  const { host, endpoint, buckets } = written;
  if (typeof host === 'string' && host.startsWith('/')) return [HERE]; // a socket
  if (kind === 's3' && endpoint === undefined) return Array.isArray(buckets) ? buckets.map(awsBucket) : null;
  const hosts = addressesIn(filled(written)).map((each) => each.host);
  return hosts.length === 0 || hosts.some((each) => each.includes(REFERRED)) ? null : hosts;
}

function placeOf({ url, written }: StoreSetup): string | null {
  if (isLocal({ url })) return HERE;
  const { endpoint } = written;
  if (endpoint === undefined) return awsBucket(/^s3:\/\/([^/]*)/.exec(url)?.[1]);
  const host = addressesIn(filled({ endpoint }))[0]?.host;
  return host === undefined || host.includes(REFERRED) ? null : host;
}

/** Amazon loses no two buckets at once. */
function awsBucket(bucket: unknown): string {
  const name = typeof bucket === 'object' && bucket !== null && 'name' in bucket ? bucket.name : bucket;
  return `s3://${String(name)}`;
}

export function isLocal({ url }: Pick<StoreSetup, 'url'>): boolean {
  return !url.includes('://');
}

/** Whether nothing says where it is but a reference. */
export function isHidden(component: ComponentSetup): boolean {
  return placesOf(component) === null && !liesElsewhere(component);
}

/** Whether what takes all of the component takes this store, too. */
export function isLostWith(component: ComponentSetup, store: StoreSetup): boolean {
  const places = liesElsewhere(component) ? null : placesOf(component);
  const place = placeOf(store);
  return place !== null && (places?.every((each) => each === place) ?? false);
}

/** The stores that plans with a schedule put the data of the component into. */
export function storesOf(setup: Setup, name: string): readonly StoreSetup[] {
  const component = setup.components.find((each) => each.name === name);
  if (!component || liesElsewhere(component)) return [];
  const names = new Set(plansOf(setup, name).flatMap(({ to }) => to));
  return setup.stores.filter((store) => names.has(store.name));
}

/** In a repository of its own, whatever store its points are in. */
export function liesElsewhere({ written }: ComponentSetup): boolean {
  return written.method === 'snapshot';
}

/** Hosts and ports as they are written; those that only a reference says are left out. */
export function addressesOf(written: Written): readonly Address[] {
  return addressesIn(filled(written)).filter(({ host, port }) => !host.includes(REFERRED) && port !== REFERRED);
}

function filled(written: Written): Written {
  const fill = (value: unknown): unknown => {
    if (typeof value === 'string') return value.replaceAll(PLACEHOLDER, REFERRED);
    return Array.isArray(value) ? value.map(fill) : value;
  };
  return Object.fromEntries(Object.entries(written).map(([key, value]) => [key, fill(value)]));
}

// Rules about where stores lie, and who else can read what is in them.

import { PASSWORD_IN_URL } from '../../core/addresses.ts';
import { PLACEHOLDER } from '../../core/settings.ts';
import { type ComponentSetup, type Found, listed, type Path, plansOf, type Setup, type StoreSetup } from './setup.ts';
import { isLocal, isLostWith, storesOf } from './where.ts';

/** Keys whose value is one, whatever the kind. */
const SECRETS = /password|secret|token|api_key|authorization/i;

/** All points of a component are gone with it. */
export function* sameFailure(setup: Setup): Generator<Found> {
  for (const component of setup.components) {
    const stores = storesOf(setup, component.name);
    if (stores.length === 0 || !stores.every((store) => isLostWith(component, store))) continue;
    yield {
      at: ['components', component.name],
      why:
        `all its points lie in ${named(stores)}, at the place of the data itself: what takes the one takes the ` +
        'other',
      ...elsewhere(setup, component, (store) => !isLostWith(component, store)),
    };
  }
}

/** Whatever happens to this machine happens to all points. */
export function* onlyHere(setup: Setup): Generator<Found> {
  for (const component of setup.components) {
    const stores = storesOf(setup, component.name);
    if (stores.length === 0 || !stores.every(isLocal)) continue;
    if (stores.every((store) => isLostWith(component, store))) continue; // told above, and worse
    yield {
      at: ['components', component.name],
      why:
        `all its points lie in ${named(stores)}, a directory of the machine that makes them: a fire, a thief or who ` +
        'encrypts its disks takes all',
      ...elsewhere(setup, component, (store) => !isLocal(store)),
    };
  }
}

/** Who has the disk has the data. */
export function* unencrypted({ stores }: Setup): Generator<Found> {
  for (const store of stores.filter((each) => each.format === 'plain' && isLocal(each))) {
    yield {
      at: ['stores', store.name, 'format'],
      why: `what lies in ${store.url} is not encrypted: who reads that disk, or buys it used, has all of the data`,
      change: [],
      advice: 'make it a store of format restic with a password, in a directory of its own, or encrypt the disk',
    };
  }
}

/** The configuration itself opens a service or a store. */
export function* clearSecret({ components, stores, plans }: Setup): Generator<Found> {
  for (const [part, all] of Object.entries({ components, stores, plans })) {
    for (const { name, written } of all) {
      for (const { path, reference } of secretsIn(written, [part, name])) {
        const change = reference === null ? [] : [{ path, to: reference }];
        const why = 'a secret is written out here, for everybody who sees this file, its backups and its history';
        yield { at: path, why, change, advice: 'change the secret, too: it was seen' };
      }
    }
  }
}

interface Secret {
  readonly path: Path;
  /** What to write there. */
  readonly reference: string | null;
}

function* secretsIn(value: unknown, path: Path): Generator<Secret> {
  const key = path.at(-1) ?? '';
  if (typeof value === 'string') {
    const variable = path
      .slice(1)
      .join('_')
      .replaceAll(/[^A-Za-z0-9]+/g, '_')
      .toUpperCase();
    if (SECRETS.test(key) && value !== '' && value.search(PLACEHOLDER) < 0) {
      yield { path, reference: `\${env:${variable}}` };
    } else if (/^[a-z][a-z0-9+.-]*:\/\//i.test(value) && PASSWORD_IN_URL.test(value.replaceAll(PLACEHOLDER, ''))) {
      const [, before = ''] = PASSWORD_IN_URL.exec(value) ?? [];
      const after = value.slice(value.lastIndexOf('@'));
      yield { path, reference: `${before}:\${env:${variable}_PASSWORD}${after}` };
    }
    return;
  }
  if (typeof value !== 'object' || value === null) return;
  for (const [step, each] of Object.entries(value)) yield* secretsIn(each, [...path, step]);
}

function elsewhere(
  setup: Setup,
  { name }: ComponentSetup,
  isElsewhere: (store: StoreSetup) => boolean,
): Pick<Found, 'change' | 'advice'> {
  const [plan] = plansOf(setup, name);
  const store = setup.stores.find(isElsewhere);
  if (plan && store) return { change: [{ path: ['plans', plan.name, 'to'], to: [...plan.to, store.name] }] };
  const at = '{ format: restic, bucket: s3://BUCKET/lifeboat, password: … }';
  return { change: [], advice: `add a store at another place, and to "to" of plan ${plan?.name}: offsite: ${at}` };
}

function named(stores: readonly StoreSetup[]): string {
  return listed(stores.map(({ name, url }) => `${name} (${url})`));
}

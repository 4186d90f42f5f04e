// How archived objects look to people, and what is asked before they are thawed.

import { Failure, messageOf } from '../core/errors.ts';
import type { Context } from '../core/model.ts';
import type { Bucket, ThawTier } from '../core/storage.ts';
import {
  type Archived,
  archivedFailure,
  archivedIn,
  askForThaw,
  hoursOf,
  type ThawNeed,
  untilThawed,
} from '../engine/thaw.ts';
import { PRICES_AS_OF, PRICES_OF, THAW_DAYS, THAW_TIERS } from '../engine/thaw-prices.ts';
import { essentials } from '../stores/archived.ts';
import type { StoreConfig } from './config/model.ts';
import { confirm } from './confirm.ts';
import type { Session } from './session.ts';
import { openBucket } from './stack.ts';
import { bytesText, durationText, plural, table } from './terminal.ts';

export interface ThawOptions {
  readonly thaw?: string;
  readonly wait?: true;
  readonly yes?: true;
}

const HOUR_MS = 3_600_000;

/** Undefined when nothing is to be thawed. */
export function tierOf({ thaw, wait }: ThawOptions): ThawTier | undefined {
  if (thaw === undefined && wait) throw new Failure('usage', '--wait needs --thaw');
  const tier = THAW_TIERS.find((each) => each.toLowerCase() === thaw?.toLowerCase());
  if (thaw === undefined || tier) return tier;
  throw new Failure('usage', `--thaw ${thaw}: ${THAW_TIERS.join(', ').toLowerCase()} are the tiers`);
}

/** What was said yes to. */
export interface Agreed {
  readonly tier: ThawTier;
  readonly usd: number;
}

/** Before anything is asked for or paid: throws without --thaw, for a tier that is not to be had, and for a no. */
export async function confirmThaw(
  session: Session,
  need: ThawNeed,
  archived: Archived,
  options: ThawOptions,
): Promise<Agreed> {
  const tier = tierOf(options);
  if (!tier) throw archivedFailure(need, archived);
  const offer = archived.offers.find((each) => each.tier === tier);
  if (!offer) {
    const classes = archived.classes.map(({ storageClass }) => storageClass).join(' and ');
    throw new Failure('usage', `--thaw ${options.thaw}: objects in ${classes} are not to be had so`, {
      hint: `choose ${archived.offers.map((each) => each.tier.toLowerCase()).join(' or ')}`,
    });
  }
  const unasked = archived.objects - archived.thawing;
  const what = `This asks for ${plural(unasked, 'archived object')}, ${costText(offer.usd)}`;
  if (unasked > 0) await confirm(session, options.yes === true, what, 'yes');
  return { tier, usd: offer.usd };
}

/** What is not back yet. */
export interface Later {
  readonly json: object;
  readonly text: string;
}

/**
 * Asks for what is archived, and with --wait waits for it. Null when it is back. What becomes known to be needed only
 * on the way is shown and confirmed as the first was: it may be most of the cost.
 */
export async function thaw(
  session: Session,
  need: ThawNeed,
  { tier, usd }: Agreed,
  options: ThawOptions,
): Promise<Later | null> {
  const agree = async (more: Archived): Promise<void> => {
    session.note(archivedText(more));
    await confirmThaw(session, need, more, options);
  };
  const left = await archivedIn(session.ctx, need);
  if (left === null) return null;
  const now = left.offers.find((each) => each.tier === tier);
  if (!now || now.usd > usd) await agree(left); // what leads to it came back while somebody was asked
  if (left.thawing < left.objects) await askForThaw(session.ctx, need, tier);
  if (!options.wait) return { json: { store: need.store, thaw: archivedJson(left) }, text: comeBackText(left, tier) };
  session.note(
    `waiting for ${plural(left.objects, 'object')}: ${takesText(left, tier)}. It can be stopped and repeated`,
  );
  await untilThawed(session.ctx, need, tier, agree);
  return null;
}

/** With --thaw, where every store has archived even what it can't be opened without: that comes first. */
export async function thawStores(
  session: Session,
  stores: readonly StoreConfig[],
  options: ThawOptions,
): Promise<Later | null> {
  if (options.thaw === undefined) return null;
  const buckets: Bucket[] = [];
  const closed: { readonly need: ThawNeed; readonly archived: Archived }[] = [];
  try {
    for (const store of stores) {
      try {
        const bucket = await openBucket(session.ctx, store);
        buckets.push(bucket);
        const own = essentials(bucket, (await store.format()).isEssential);
        const need = own && { store: store.name, what: `store ${store.name}`, ...own };
        const archived = need && (await archivedIn(session.ctx, need));
        if (archived) closed.push({ need, archived });
        else if (await holdsAnything(session.ctx, bucket)) return null;
      } catch (error) {
        if (session.ctx.signal.aborted) throw error;
        session.ctx.log.debug('store not looked through', { store: store.name, reason: messageOf(error) });
      }
    }
    const [first] = closed;
    if (!first) return null;
    session.note(archivedText(first.archived));
    return await thaw(session, first.need, await confirmThaw(session, first.need, first.archived, options), options);
  } finally {
    await Promise.all(buckets.map((bucket) => bucket.close()));
  }
}

async function holdsAnything(ctx: Context, bucket: Bucket): Promise<boolean> {
  for await (const _ of bucket.list(ctx, '')) return true;
  return false;
}

export function archivedText({ objects, bytes, thawing, leads, offers }: Archived): string {
  const asked = thawing === 0 ? '' : `; ${thawing} of them were asked for already`;
  const rows = offers.map(({ tier, hours, usd }) => [tier.toLowerCase(), durationText(hours * HOUR_MS), costText(usd)]);
  const titles = ['--thaw', 'takes up to', 'estimated cost'];
  return [
    `ARCHIVED: ${plural(objects, 'object')}, ${bytesText(bytes)}, must be thawed first${asked}`,
    ...(leads ? ['They lead to the rest: what else is needed is known, and asked for, when they are back.'] : []),
    table(
      titles.map((title) => ({ title })),
      rows,
    ),
    `Estimates: list prices of ${PRICES_OF}, ${PRICES_AS_OF}, without transfer; readable for ${THAW_DAYS} days.`,
  ].join('\n');
}

export function archivedJson({ objects, bytes, thawing, leads, classes, offers }: Archived): object {
  return {
    ...{ objects, bytes, thawing, leads },
    classes: classes.map(({ storageClass, ...sum }) => ({ storage_class: storageClass, ...sum })),
    offers: offers.map(({ tier, ...offer }) => ({ tier: tier.toLowerCase(), ...offer })),
    prices: { of: PRICES_OF, as_of: PRICES_AS_OF, currency: 'USD' },
    days: THAW_DAYS,
  };
}

/** When to come back. */
function comeBackText(left: Archived, tier: ThawTier): string {
  const what = `${plural(left.objects, 'object')} asked for: ${takesText(left, tier)}`;
  return `${what}; then run the same command again, or with --wait. Nothing was restored`;
}

function takesText(left: Archived, tier: ThawTier): string {
  return `${tier.toLowerCase()} takes up to ${durationText(hoursOf(left, tier) * HOUR_MS)}`;
}

function costText(usd: number): string {
  return usd < 0.01 ? 'less than 1 cent' : `about $${usd.toFixed(2)}`;
}

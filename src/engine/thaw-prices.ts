// What Amazon S3 asks for thawing and how long it takes: the order of magnitude, told beforehand. List prices of region
// us-east-1 in US dollars without taxes and transfer, from https://aws.amazon.com/s3/pricing/; times from "Archive
// retrieval options" of the S3 user guide.

import type { ThawTier } from '../core/storage.ts';

export const PRICES_AS_OF = '2026-05';
export const PRICES_OF = 'Amazon S3, us-east-1';
/** How long thawed objects stay readable: time for a restore, and for a second one. */
export const THAW_DAYS = 7;
export const THAW_TIERS: readonly ThawTier[] = ['Expedited', 'Standard', 'Bulk'];

interface Retrieval {
  /** That it typically takes at most. */
  readonly hours: number;
  readonly perGib: number;
  readonly perThousand: number;
}
const RETRIEVALS: Readonly<Record<string, Readonly<Partial<Record<ThawTier, Retrieval>>>>> = {
  GLACIER: {
    Expedited: { hours: 5 / 60, perGib: 0.03, perThousand: 10 },
    Standard: { hours: 5, perGib: 0.01, perThousand: 0.05 },
    Bulk: { hours: 12, perGib: 0, perThousand: 0 },
  },
  DEEP_ARCHIVE: {
    Standard: { hours: 12, perGib: 0.02, perThousand: 0.1 },
    Bulk: { hours: 48, perGib: 0.0025, perThousand: 0.025 },
  },
};
/** The thawed copy is billed besides the archived object. */
const COPY_PER_GIB_MONTH = 0.023;
const MONTH_DAYS = 30;
const GIB = 2 ** 30;

/** Objects of one storage class. */
export interface ClassSum {
  readonly storageClass: string;
  readonly objects: number;
  readonly bytes: number;
}
export interface ThawOffer {
  readonly tier: ThawTier;
  readonly hours: number;
  readonly usd: number;
}

/** The tiers that all of these classes have. A class that is not known here is reckoned as Glacier. */
export function thawOffers(sums: readonly ClassSum[]): readonly ThawOffer[] {
  return THAW_TIERS.flatMap((tier) => {
    let [hours, usd] = [0, 0];
    for (const { storageClass, objects, bytes } of sums) {
      const retrieval = (RETRIEVALS[storageClass] ?? RETRIEVALS.GLACIER)?.[tier];
      if (!retrieval) return [];
      const copy = (COPY_PER_GIB_MONTH * THAW_DAYS) / MONTH_DAYS;
      hours = Math.max(hours, retrieval.hours);
      usd += (bytes / GIB) * (retrieval.perGib + copy) + (objects / 1000) * retrieval.perThousand;
    }
    return [{ tier, hours, usd }];
  });
}

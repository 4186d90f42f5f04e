import { test } from 'node:test';
import type { Context } from '../core/model.ts';
import type { Bucket } from '../core/storage.ts';
import { testContext } from '../core/testing.ts';
import { bucketChecks } from './checks.ts';

/** Runs every check against a fresh bucket. `except` names the checks one cannot pass, each with its reason. */
export function bucketSuite(
  name: string,
  make: () => Bucket | Promise<Bucket>,
  options: { except?: Readonly<Record<string, string>>; ctx?: () => Context; skip?: string | false } = {},
): void {
  const titles = new Set(bucketChecks.map((each) => each.title));
  for (const title of Object.keys(options.except ?? {})) {
    if (!titles.has(title)) throw new Error(`no check is called '${title}'`);
  }
  for (const { title, run } of bucketChecks) {
    test(`${name}: ${title}`, { skip: options.except?.[title] ?? options.skip ?? false }, async () => {
      const bucket = await make();
      try {
        await run(options.ctx?.() ?? testContext(), bucket);
      } finally {
        await bucket.close();
      }
    });
  }
}

import { z } from 'zod';

/** Its URL says all. */
export const localBucketSettings = z.strictObject({});

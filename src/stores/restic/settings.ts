import { z } from 'zod';

export const resticSettings = z.strictObject({
  stack: z.string().min(1).describe('what the stack is called; a store belongs to one stack'),
  password: z.string().min(1).describe('opens the repository; keep a copy of it away from this machine'),
  compression: z
    .enum(['default', 'fast', 'off'])
    .default('default')
    .describe('how hard zstd tries: fast takes half the time for some more space, off stores data as it is'),
});
export type ResticSettings = z.output<typeof resticSettings>;

/** zstd's. What stock restic calls its default lies between 2 and 3, in size as in time. */
export const COMPRESSION_LEVEL = { default: 2, fast: 1, off: 0 } as const satisfies Record<
  ResticSettings['compression'],
  number
>;

import { z } from 'zod';

export const plainSettings = z.strictObject({
  stack: z.string().min(1).describe('the stack that the store belongs to'),
  layout: z
    .enum(['dated', 'by-component'])
    .default('dated')
    .describe("'dated': a folder for each point; 'by-component': a folder for each kind, dated file names"),
});
export type PlainSettings = z.output<typeof plainSettings>;
export type Layout = PlainSettings['layout'];

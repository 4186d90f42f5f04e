import { z } from 'zod';

const absolute = z
  .string()
  .regex(/^\/(?!.*(?:^|\/)\.\.?(?:\/|$))[^\0]*$/, "an absolute path without '.' and '..'")
  .transform((path) => path.replace(/\/+/g, '/').replace(/(?<=.)\/$/, ''));

export const filesSettings = z.strictObject({
  paths: z.array(absolute).min(1).describe('Directories and files to protect, each with all that lies beneath it'),
  exclude: z
    .array(z.string().min(1))
    .default([])
    .describe("What to leave out: '*.tmp' is a name at any depth, '/srv/app/cache/**' a path"),
  root: absolute.default('/').describe('The directory that `paths` are looked up in, as if it were the whole disk'),
});
export type FilesSettings = z.output<typeof filesSettings>;

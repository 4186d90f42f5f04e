// What a configuration is once it is read: names resolved to plug-ins, settings checked, secrets still where they are.

import type { z } from 'zod';
import type { Driver } from '../../core/driver.ts';
import type { Context } from '../../core/model.ts';
import type { StoreFormat } from '../../core/storage.ts';
import type { BucketPlugin } from '../plugins.ts';
import type { componentCommon, configSchema } from './schema.ts';

export interface StoreConfig {
  readonly name: string;
  readonly url: string;
  /** What the format is called. */
  readonly formatName: string;
  format(): Promise<StoreFormat>;
  readonly bucket: BucketPlugin;
  readonly rateLimit: number | undefined;
  /** All of it as it stands in the file, with references as such. */
  readonly written: Readonly<Record<string, unknown>>;
  /** To resolve its secrets a command is run, or another service asked. */
  readonly asksOthers: boolean;
  /** It is gone with the process: nothing is put there that somebody may need. */
  readonly transient?: true;
  /** That its secrets are had from. */
  readonly variables: readonly string[];
  /** With secrets resolved: what the bucket and the format are opened with. */
  settings(ctx: Context): Promise<{ bucket: unknown; format: unknown }>;
}
type ComponentCommon = z.output<typeof componentCommon>;
export interface ComponentConfig {
  readonly name: string;
  readonly common: ComponentCommon;
  driver(): Promise<Driver>;
  /** All of it as it stands in the file, with references as such. */
  readonly written: Readonly<Record<string, unknown>>;
  /** That its secrets are had from. */
  readonly variables: readonly string[];
  /** With secrets resolved: what the driver opens. */
  settings(ctx: Context): Promise<unknown>;
  /** The same of the staging service that drills restore into; undefined where they start a server. */
  readonly staging: ((ctx: Context) => Promise<unknown>) | undefined;
}
type Parsed = z.output<typeof configSchema>;
export interface Config extends Omit<Parsed, 'stores' | 'components'> {
  readonly file: string;
  /** Of the innermost key on the path that exists; null when there is none. */
  lineOf(path: readonly (string | number)[]): number | null;
  readonly stores: readonly StoreConfig[];
  readonly components: readonly ComponentConfig[];
}

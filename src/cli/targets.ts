// Where a restore goes instead of the configured place, as people type it.

import { PASSWORD_IN_URL } from '../core/addresses.ts';
import { Failure } from '../core/errors.ts';
import type { Context } from '../core/model.ts';
import { PLACEHOLDER } from '../core/settings.ts';
import { NAME } from './config/schema.ts';
import { resolveSecrets } from './config/secrets.ts';

export interface Targets {
  /** By component, with secrets resolved. */
  readonly targets: Readonly<Record<string, string>>;
  readonly warnings: readonly string[];
}

/** 'main-db=postgresql://me:${env:PGPASSWORD}@staging/shop': secrets as in the configuration. */
export async function targetsOf(ctx: Context, pairs: readonly string[]): Promise<Targets> {
  const targets: Record<string, string> = {};
  const warnings: string[] = [];
  for (const pair of pairs) {
    const at = pair.indexOf('=');
    const [name, written] = [pair.slice(0, Math.max(0, at)), pair.slice(at + 1)];
    if (!NAME.test(name)) {
      // What stands behind a colon may be a password.
      throw new Failure('usage', `--to ${name.replace(/:.*/s, '')}… is not COMPONENT=TARGET`);
    }
    targets[name] = String(await resolveSecrets(ctx, written, `--to ${name}`));
    if (holdsPassword(written)) {
      warnings.push(
        `the password of --to ${name} can be seen in the list of processes: write '\${env:NAME}' or '\${file:/path}' there`,
      );
    }
  }
  return { targets, warnings };
}

/** Itself, not by a reference. */
function holdsPassword(written: string): boolean {
  return PASSWORD_IN_URL.test(written.replaceAll(PLACEHOLDER, ''));
}

export function withoutPassword(target: string): string {
  return target.replace(PASSWORD_IN_URL, '$1@');
}

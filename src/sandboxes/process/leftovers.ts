// What a killed Lifeboat leaves behind: a server that nobody needs and its directory. The next start removes both, but
// only with proof that their owner is dead, and only what nobody else can have put there.

import { lstat, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { systemCode } from '../../core/errors.ts';
import { endLeftover, identityOf, processIdentitySchema, stateOf } from '../../core/liveness.ts';
import type { Context } from '../../core/model.ts';

export const SANDBOX_PREFIX = 'lifeboat-sandbox-';
const OWNER_FILE = 'owner.json';

const ownerSchema = z.strictObject({
  owner: processIdentitySchema.nullable(),
  server: processIdentitySchema.nullable(),
});

/** Notes who owns the sandbox, first of all, and then which process its server is. */
export async function writeOwner(home: string, serverPid: number | null): Promise<void> {
  const [owner, server] = await Promise.all([
    identityOf(process.pid),
    serverPid === null ? null : identityOf(serverPid),
  ]);
  const unfinished = join(home, `${OWNER_FILE}.new`);
  await writeFile(unfinished, JSON.stringify({ owner, server }), { mode: 0o600 });
  await rename(unfinished, join(home, OWNER_FILE));
}

export async function removeLeftovers(ctx: Context, parent: string): Promise<void> {
  for (const name of await readdir(parent)) {
    if (!name.startsWith(SANDBOX_PREFIX)) continue;
    const home = join(parent, name);
    if (!(await isOurs(home))) continue;
    const { owner, server } = await readOwner(home);
    if (!owner || (await stateOf(owner)) !== 'dead') continue;
    if (server && !(await endLeftover(ctx, server))) continue;
    await rm(home, { recursive: true, force: true, maxRetries: 3 });
    ctx.log.info('removed a leftover sandbox', { dir: home });
  }
}

/** In a directory that everybody may write to, only what belongs to us can be believed. */
async function isOurs(path: string): Promise<boolean> {
  try {
    const seen = await lstat(path);
    return seen.isDirectory() && seen.uid === process.getuid?.();
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false; // another process was faster
    throw error;
  }
}

/** Nothing is known when the file is missing, because it was killed before it could write it, or is none of ours. */
async function readOwner(home: string): Promise<Partial<z.output<typeof ownerSchema>>> {
  try {
    return ownerSchema.parse(JSON.parse(await readFile(join(home, OWNER_FILE), 'utf8')));
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || error instanceof SyntaxError || error instanceof z.ZodError) return {};
    throw error;
  }
}

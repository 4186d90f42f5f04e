// A restic repository and what everyone who works on it shares.

import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { outliving } from '../../core/context.ts';
import { Failure, isFailure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import type { Bucket } from '../../core/storage.ts';
import { freshKey, open, seal } from './crypto.ts';
import { getOwn, headOf, listNamed, putOwn, readObject, shaped, type Vault } from './documents.ts';
import { type Indexes, indexFiles } from './index-files.ts';
import { addKey, SCRYPT_COST, type ScryptCost, type Unlocked, unlock } from './keys.ts';
import { type Locks, repositoryLocks } from './locks.ts';
import { randomPolynomial } from './polynomial.ts';
import type { Reader } from './reader.ts';
import { COMPRESSION_LEVEL, type ResticSettings } from './settings.ts';
import { type Snapshots, snapshotFiles } from './snapshots.ts';
import { type Trees, treeReader } from './trees.ts';
import type { Writer } from './writer.ts';
import { close, sharedWriter } from './writer-shared.ts';

export const CONFIG_KEY = 'config';
const OWNER_KEY = 'lifeboat/owner.json';
/** Of a plain store, which somebody may be making here at the same time. */
const CLEANUP_MS_MAX = 30_000;
const PLAIN_OWNER_KEY = '0-lifeboat/owner.json';
const VERSION = 2;

const configSchema = z.object({
  version: z.int().min(1).max(VERSION),
  id: z.hex().length(64),
  chunker_polynomial: z.string(),
});
const ownerSchema = z.object({ stack: z.string() });

export interface Repository extends AsyncDisposable {
  readonly vault: Vault;
  readonly url: string;
  readonly stack: string;
  readonly unlocked: Unlocked;
  readonly indexes: Indexes;
  readonly snapshots: Snapshots;
  readonly locks: Locks;
  readonly trees: Trees;
  /** Looks blobs up in `indexes`, which the caller has refreshed. */
  reader(ctx: Context): Promise<Reader>;
  /** A writer that all who borrow it at the same time share. */
  borrowWriter(ctx: Context): Promise<Writer>;
}

/** Makes a repository where nothing is. `config` comes last: without it there is none. */
export async function createRepository(
  ctx: Context,
  bucket: Bucket,
  settings: ResticSettings,
  cost: ScryptCost = SCRYPT_COST,
): Promise<void> {
  for await (const { key } of bucket.list(ctx, '')) {
    throw new Failure('exists', `${bucket.url} is not empty: there is ${key}`, {
      hint: await hintInTheWay(ctx, bucket),
    });
  }
  await assertAbsent(ctx, bucket, CONFIG_KEY); // a listing that shows nothing may be wrong
  const vault = { bucket, key: freshKey() };
  const config = {
    version: VERSION,
    id: randomBytes(32).toString('hex'),
    chunker_polynomial: randomPolynomial().toString(16),
  };
  let keyFile: string | undefined;
  let entering = false;
  try {
    // Where the bucket can tell, the second of two who make a store here at once fails now and leaves nothing.
    await putOwn(ctx, vault, OWNER_KEY, { stack: settings.stack }, { ifAbsent: true });
    keyFile = (await addKey(ctx, bucket, vault.key, settings.password, cost)).id;
    await assertOnlyKey(ctx, bucket, keyFile);
    await assertAbsent(ctx, bucket, PLAIN_OWNER_KEY);
    ctx.signal.throwIfAborted();
    entering = true;
    await bucket.put(ctx, CONFIG_KEY, seal(vault.key, Buffer.from(JSON.stringify(config))), { ifAbsent: true });
  } catch (error) {
    // A config whose reply was lost may be there: its key stays.
    if (!entering || isFailure(error, 'exists')) {
      const last = outliving(ctx, CLEANUP_MS_MAX);
      await withdraw(last, vault, keyFile).catch(() => undefined); // the next `init` names what is left
    }
    throw error;
  }
  await readConfig(ctx, vault);
}

/** Without a config nobody can open what is there: an `init` that died has left it. */
async function hintInTheWay(ctx: Context, bucket: Bucket): Promise<string> {
  const keys: string[] = [];
  for (const prefix of [OWNER_KEY, 'keys/']) for await (const { key } of bucket.list(ctx, prefix)) keys.push(key);
  if (keys.length === 0 || (await headOf(ctx, { bucket }, CONFIG_KEY))) {
    return 'choose another place, or open the store that is there';
  }
  return `there is no config: if an init was cut off here, delete ${keys.join(' and ')}`;
}

/** Both put their key before they look: at least one sees the other, and no key is left that does not open `config`. */
async function assertOnlyKey(ctx: Context, bucket: Bucket, own: string): Promise<void> {
  for await (const id of listNamed(ctx, bucket, 'keys')) {
    if (id === own) continue;
    throw new Failure('exists', `somebody else is making a store at ${bucket.url}`, {
      hint: 'open that one; if nobody has made it in the end, run lifeboat init again',
    });
  }
}

/** Takes back what was written here, and nothing that another one wrote over it. */
async function withdraw(ctx: Context, vault: Vault, keyFile: string | undefined): Promise<void> {
  if (keyFile !== undefined) await vault.bucket.delete(ctx, `keys/${keyFile}`);
  try {
    await getOwn(ctx, vault, OWNER_KEY);
  } catch (error) {
    if (isFailure(error, 'checksum') || isFailure(error, 'missing')) return;
    throw error;
  }
  await vault.bucket.delete(ctx, OWNER_KEY);
}

export async function openRepository(ctx: Context, bucket: Bucket, settings: ResticSettings): Promise<Repository> {
  await bucket.head(ctx, CONFIG_KEY).catch((cause: unknown) => {
    if (!isFailure(cause, 'missing')) throw cause;
    throw new Failure('missing', `${bucket.url} holds no restic repository`, { cause, hint: 'run lifeboat init' });
  });
  const unlocked = await unlock(ctx, bucket, settings.password);
  const vault = { bucket, key: unlocked.key };
  const config = await readConfig(ctx, vault);
  await assertOwner(ctx, vault, settings.stack);
  return repository(vault, unlocked, config, settings);
}

/** A repository that stock restic made has no owner: the first point that is written takes it. */
export async function takeOwnership(ctx: Context, { vault, stack }: Repository): Promise<void> {
  if (await readOwner(ctx, vault)) return;
  await putOwn(ctx, vault, OWNER_KEY, { stack });
  await assertOwner(ctx, vault, stack);
}

function repository(
  vault: Vault,
  unlocked: Unlocked,
  config: z.output<typeof configSchema>,
  settings: ResticSettings,
): Repository {
  const { bucket, key } = vault;
  const indexes = indexFiles(vault);
  let reader: Promise<Reader> | undefined;

  // Both are loaded when they are used: most commands only look.
  const readerOf = (ctx: Context): Promise<Reader> =>
    (reader ??= import('./reader.ts').then(({ openReader }) => openReader(ctx, { bucket, key, index: indexes.blobs })));

  const writers = sharedWriter(async (ctx) => {
    const { openWriter } = await import('./writer.ts');
    return await openWriter(ctx, {
      bucket,
      key,
      index: indexes.blobs,
      compressionLevel: COMPRESSION_LEVEL[settings.compression],
      chunkerSeed: config.chunker_polynomial,
      onPack: (pack) => indexes.stored(ctx, pack),
    });
  });

  return {
    vault,
    url: bucket.url,
    stack: settings.stack,
    unlocked,
    indexes,
    snapshots: snapshotFiles(vault),
    locks: repositoryLocks(vault),
    trees: treeReader(async (ctx, id) => await (await readerOf(ctx)).blob(ctx, id)),
    reader: readerOf,
    async borrowWriter(ctx) {
      if (config.version !== VERSION) {
        throw new Failure('version-mismatch', `${bucket.url} is a repository of version ${config.version}`, {
          hint: 'run restic migrate upgrade_repo_v2',
        });
      }
      return await writers.borrow(ctx);
    },
    async [Symbol.asyncDispose]() {
      await writers[Symbol.asyncDispose]();
      await close(reader);
    },
  };
}

async function readConfig(ctx: Context, { bucket, key }: Vault): Promise<z.output<typeof configSchema>> {
  const plain = open(key, await readObject(ctx, bucket, CONFIG_KEY));
  try {
    return shaped(configSchema, JSON.parse(plain.toString('utf8')), CONFIG_KEY);
  } catch (cause) {
    throw new Failure('version-mismatch', `${bucket.url}: config is of no version that is known here`, { cause });
  }
}

/** Null when there is none. One that was damaged must not stand between anybody and a restore: `check` names it. */
async function readOwner(ctx: Context, vault: Vault): Promise<z.output<typeof ownerSchema> | null> {
  try {
    return shaped(ownerSchema, await getOwn(ctx, vault, OWNER_KEY), OWNER_KEY);
  } catch (error) {
    if (isFailure(error, 'missing')) return null;
    if (!isFailure(error, 'checksum') && !isFailure(error, 'malformed')) throw error;
    ctx.log.warn('whose store this is can not be read', { url: vault.bucket.url, error: error.message });
    return null;
  }
}

async function assertOwner(ctx: Context, vault: Vault, stack: string): Promise<void> {
  const owner = await readOwner(ctx, vault);
  if (owner && owner.stack !== stack) {
    throw new Failure('not-this-stack', `${vault.bucket.url} belongs to the stack ${owner.stack}, not ${stack}`, {
      hint: 'give each stack a store of its own',
    });
  }
}

async function assertAbsent(ctx: Context, bucket: Bucket, key: string): Promise<void> {
  try {
    await bucket.head(ctx, key);
  } catch (error) {
    if (isFailure(error, 'missing')) return;
    throw error;
  }
  throw new Failure('exists', `${bucket.url} already holds ${key}`);
}

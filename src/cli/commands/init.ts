import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { parseEnv } from 'node:util';
import type { Command } from 'commander';
import { Failure, isFailure, systemCode } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { noteKit } from '../../engine/kit.ts';
import { CONFIG_FILES, loadConfig, parseConfig } from '../config/load.ts';
import type { Config } from '../config/model.ts';
import { fromCompose, fromEnvironment } from '../init/detect.ts';
import type { Found } from '../init/found.ts';
import { configText, type InitChoice, recoveryKit, type SecretFile, withoutSecrets } from '../init/template.ts';
import type { Bind, Session } from '../session.ts';
import { openBucket } from '../stack.ts';
import { table } from '../terminal.ts';

interface Created {
  readonly name: string;
  readonly url: string;
  readonly state: string;
  /** Of the recovery kit; null where no password is needed. */
  readonly key: string | null;
}

interface Options {
  readonly from?: string;
  readonly fromEnv?: true;
  readonly yes?: true;
  readonly stack?: string;
  readonly store?: string;
  readonly endpoint?: string;
  readonly passwordFile?: string;
}

const NAMING = [
  ...['DATABASE_URL', 'REDIS_URL', 'MINIO_ENDPOINT', 'ELASTICSEARCH_URL'],
  ...['LOKI_URL', 'KAFKA_BROKERS', 'ZOOKEEPER_HOSTS'],
];
/** What only a new configuration can follow. */
const OWN_OPTIONS: readonly string[] = ['from', 'fromEnv', 'stack', 'store', 'endpoint', 'passwordFile'];

export function define(command: Command, bind: Bind): void {
  command
    .option('--from <compose-file>', 'take the components from a docker-compose file')
    .option(
      '--from-env',
      'take the components from variables such as DATABASE_URL, REDIS_URL, MINIO_ENDPOINT and KAFKA_BROKERS',
    )
    .option('--yes', 'ask nothing; take what was found')
    .option('--stack <name>', 'what the stack is called')
    .option('--store <place>', 'where recovery points go: a directory, or s3://BUCKET/PREFIX')
    .option('--endpoint <url>', 'the S3 server, when it is not AWS')
    .option('--password-file <file>', "the store's password; made when it is not there")
    .addHelpText(
      'after',
      `
Examples:
  lifeboat init                                        asks
  lifeboat init --from docker-compose.yml --yes --store /backup/lifeboat
  lifeboat init                                        with a lifeboat.yaml already there: only creates its stores`,
    );
  bind<Options>(command, async (session, options) => {
    const file = session.globals.config ?? CONFIG_FILES[0];
    const present = existsSync(file) || (session.globals.config === undefined && existsSync(CONFIG_FILES[1]));
    if (present && Object.keys(options).some((name) => OWN_OPTIONS.includes(name))) {
      throw new Failure('usage', 'there is a configuration already, so init only creates its stores', {
        hint: 'run it without options, or name another file with --config',
      });
    }
    const config = present ? await session.config() : await writeConfig(session, options, file);
    const created = await createStores(session.ctx, config);
    const kit = recoveryKit(config.stack, created, resolve(config.file));
    const unset = unsetVariables(session.ctx, config);
    const json = {
      config: config.file,
      written: !present,
      stores: created,
      components: config.components.map(({ name }) => name),
      recovery_kit: kit,
      unset_variables: unset,
    };
    session.print(json, () => {
      const rows = created.map(({ name, url, state }) => [name, url, state]);
      const stores = table([{ title: 'store' }, { title: 'place' }, { title: 'state' }], rows);
      const first = unset.length > 0 ? `set ${unset.join(', ')}, which the configuration needs, then ` : '';
      return `${present ? 'read' : 'wrote'} ${config.file}\n\n${stores}\n\n${kit}\n\nnext: ${first}lifeboat doctor, then lifeboat backup`;
    });
    return 0;
  });
}

/** What Compose would take from its file, from .env or from nowhere is not there when Lifeboat runs. */
function unsetVariables({ env }: Context, { stores, components }: Config): readonly string[] {
  const names = [...stores, ...components].flatMap(({ variables }) => variables);
  return [...new Set(names)].filter((name) => env[name] === undefined).sort();
}

async function writeConfig(session: Session, options: Options, file: string): Promise<Config> {
  const choice = await choose(session, options);
  const { components, secrets } = withoutSecrets(choice.components, dirname(choice.passwordFile));
  const text = configText({ ...choice, components });
  await parseConfig(session.ctx, text, file); // never leave a file behind that we would not read
  await mkdir(dirname(choice.passwordFile), { recursive: true });
  await writeSecrets(secrets);
  await ensurePassword(choice.passwordFile);
  await mkdir(dirname(resolve(file)), { recursive: true });
  await writeFile(file, text, { mode: 0o600, flag: 'wx' });
  return await loadConfig(session.ctx, file);
}

export async function writeSecrets(secrets: readonly SecretFile[]): Promise<void> {
  const taken = secrets.find(({ file }) => existsSync(file));
  if (taken) {
    throw new Failure('exists', `${taken.file}, which would keep the URL with its password, is there already`, {
      hint: 'move it away, or give the password in a variable: --from-env; nothing was written',
    });
  }
  for (const { file, text } of secrets) await writeFile(file, text, { mode: 0o600, flag: 'wx' });
}

async function choose(session: Session, options: Options): Promise<InitChoice> {
  const found = await detect(session.ctx, options);
  const defaults = {
    stack: options.stack ?? (basename(resolve('.')).replaceAll(/[^A-Za-z0-9._-]/g, '-') || 'stack'),
    storeUrl: storePlace(options.store ?? './lifeboat-store'),
    passwordFile: resolve(options.passwordFile ?? './lifeboat.password'),
  };
  if (options.yes || !session.interactive) {
    if (!options.yes) {
      throw new Failure('usage', 'init has questions and there is no terminal', {
        hint: 'add --yes, with --from docker-compose.yml or --from-env, and --store PLACE',
      });
    }
    if (found.length === 0) {
      throw new Failure('settings-invalid', 'nothing to protect was found', {
        hint: `set ${NAMING.join(', ')} or others like them and add --from-env, or name a compose file with --from`,
      });
    }
    return { ...defaults, endpoint: options.endpoint, components: found };
  }
  const { ask } = await import('../init/ask.ts');
  return await ask({ ...defaults, endpoint: options.endpoint, components: found });
}

export async function detect(ctx: Context, options: Pick<Options, 'from' | 'fromEnv'>): Promise<readonly Found[]> {
  if (options.from === undefined) return fromEnvironment(ctx.env);
  const file = options.from;
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new Failure('usage', `${file} can't be read (${systemCode(cause)})`, { cause });
  });
  const compose = { ...(await besideCompose(file)), ...ctx.env };
  return [...fromCompose(text, file, compose), ...(options.fromEnv ? fromEnvironment(ctx.env) : [])];
}

/** What Compose reads beside its file; the environment comes before it. */
async function besideCompose(composeFile: string): Promise<NodeJS.Dict<string>> {
  const file = join(dirname(composeFile), '.env');
  try {
    return parseEnv(await readFile(file, 'utf8'));
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return {};
    throw new Failure('usage', `${file} can't be read (${systemCode(cause)})`, { cause });
  }
}

function storePlace(place: string): string {
  return place.startsWith('s3://') ? place : resolve(place);
}

async function ensurePassword(file: string): Promise<void> {
  if (existsSync(file)) return;
  await writeFile(file, `${randomBytes(24).toString('base64url')}\n`, { mode: 0o600, flag: 'wx' });
}

/** Creates what is not there. A store that is already there is left as it is, once it is known to open. */
async function createStores(ctx: Context, config: Config): Promise<readonly Created[]> {
  const results: Created[] = [];
  for (const each of config.stores) {
    const bucket = await openBucket(ctx, each);
    const [format, { format: settings }] = [await each.format(), await each.settings(ctx)];
    let there: Failure | undefined;
    try {
      const state = await format.create(ctx, bucket, settings).then(
        () => 'created',
        async (error: unknown) => {
          if (!isFailure(error, 'exists')) throw error;
          there = error;
          return 'already there';
        },
      );
      await using opened = await format.open(ctx, bucket, settings).catch((cause: unknown) => {
        throw isFailure(cause, 'missing') && there ? there : cause; // what is there is no store
      });
      // What init prints may never leave this machine, so it takes the place of no kit that somebody keeps.
      results.push({ name: each.name, url: each.url, state, key: await noteKit(ctx, opened, { renew: false }) });
    } finally {
      await bucket.close();
    }
  }
  return results;
}

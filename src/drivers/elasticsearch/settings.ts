// Settings of a component of kind elasticsearch: Elasticsearch and OpenSearch.

import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { Failure, messageOf } from '../../core/errors.ts';
import { duration, parseSettings } from '../../core/settings.ts';

const tlsSettings = z.strictObject({
  ca_file: z.string().optional().describe('certificates to trust instead of the system’s, a PEM file'),
  cert_file: z.string().optional().describe('our certificate, where the server asks for one, a PEM file'),
  key_file: z.string().optional().describe('the key of our certificate, a PEM file'),
  server_name: z.string().optional().describe('the name that the server’s certificate is made out to'),
});

const repositorySettings = z.strictObject({
  name: z.string().default('lifeboat').describe('what the cluster knows it by'),
  type: z.enum(['fs', 's3']).describe('a directory that all nodes share, or a bucket'),
  settings: z
    .record(z.string(), z.union([z.string(), z.number(), z.boolean()]))
    .describe('in the words of the cluster: location, or bucket, base_path, access_key, secret_key …'),
});

export const elasticsearchSettings = z.strictObject({
  url: z.string().describe('http://host:9200, https:// for TLS; a path before the API is kept'),
  username: z.string().optional(),
  password: z.string().optional(),
  api_key: z.string().optional().describe('instead of user and password, as the cluster gave it (base64)'),
  tls: tlsSettings.optional().describe('files for https'),
  indices: z
    .array(z.string().min(1))
    .nonempty()
    .default(['*'])
    .describe("names and patterns of indices and data streams, '-' before one leaves it out; '*' has none with a dot"),
  method: z
    .enum(['export', 'snapshot'])
    .default('export')
    .describe('export: documents and definitions into the stores; snapshot: by the cluster into its own repository'),
  repository: repositorySettings.optional().describe('where snapshots lie; only for method snapshot'),
  inventory: z
    .enum(['full', 'counts'])
    .default('full')
    .describe('full: every document is digested; counts: documents are only counted'),
  timeout: duration.prefault('2m').describe('how long the server may say nothing'),
  follow_every: duration.prefault('15m').describe('how often a point is taken while the server is followed'),
});

export type Repository = z.output<typeof repositorySettings>;
export interface Settings extends Omit<z.output<typeof elasticsearchSettings>, 'timeout' | 'url' | 'follow_every'> {
  readonly url: URL;
  readonly timeoutMs: number;
  readonly followEveryMs: number;
}

export function readSettings(input: unknown): Settings {
  const parsed = parseSettings(elasticsearchSettings, input, 'elasticsearch');
  const { timeout, url: text, follow_every: followEveryMs, ...fields } = parsed;
  const url = URL.parse(text);
  if (!url || !['http:', 'https:'].includes(url.protocol) || url.hostname === '' || url.search !== '') {
    throw new Failure('settings-invalid', 'elasticsearch: url: not of the form https://host:9200');
  }
  if (fields.api_key !== undefined && fields.username !== undefined) {
    throw new Failure('settings-invalid', 'elasticsearch: api_key: username says already who we are');
  }
  if (fields.method === 'snapshot' && !fields.repository) {
    throw new Failure('settings-invalid', 'elasticsearch: repository: method snapshot needs one');
  }
  const username = fields.username ?? (url.username === '' ? undefined : decodeURIComponent(url.username));
  const password = fields.password ?? (url.password === '' ? undefined : decodeURIComponent(url.password));
  url.username = '';
  url.password = '';
  return {
    ...fields,
    url,
    timeoutMs: timeout,
    followEveryMs,
    ...(username === undefined ? {} : { username, password }),
  };
}

/** The same component at another place. Who we are is kept unless the new place says otherwise. */
export function retarget(settings: unknown, target: string): unknown {
  const { url: _before, ...rest } = z.looseObject({}).parse(settings);
  const url = URL.parse(target.includes('://') ? target : `http://${target}`);
  if (!url) throw new Failure('usage', `${target} is no address of a server`, { hint: 'for example http://host:9200' });
  const asGiven = url.username === '' ? rest : { ...rest, username: undefined, password: undefined };
  return { ...defined(asGiven), url: url.toString() };
}

/** What node:tls wants; reads the files that the settings name. */
export function tlsOptions({ tls = {} }: Settings): Record<string, Buffer | string> {
  const files = { ca: tls.ca_file, cert: tls.cert_file, key: tls.key_file };
  const read = Object.entries(files).map(([name, path]) => [name, path === undefined ? undefined : readFile(path)]);
  return defined({ ...Object.fromEntries(read), servername: tls.server_name });
}

/** As requests say it. */
export function loginOf({ username, password = '' }: Settings): string | undefined {
  return username === undefined ? undefined : Buffer.from(`${username}:${password}`).toString('base64');
}

/** What may stand in no message: gateways quote whom they do not let in. */
export function secretsOf(settings: Settings): string[] {
  const { password, api_key, repository } = settings;
  const keys = Object.entries(repository?.settings ?? {}).filter(([name]) => /key|secret|token|password/.test(name));
  const all = [password, api_key, loginOf(settings), ...keys.map(([, value]) => String(value))];
  return all.filter((each): each is string => each !== undefined && each !== '');
}

function readFile(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new Failure('settings-invalid', `elasticsearch: tls: ${path} can't be read: ${messageOf(cause)}`, { cause });
  }
}

function defined<T>(fields: Readonly<Record<string, T | undefined>>): Record<string, T> {
  return Object.fromEntries(Object.entries(fields).filter((entry): entry is [string, T] => entry[1] !== undefined));
}

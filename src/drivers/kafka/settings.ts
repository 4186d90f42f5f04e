// Settings of a component of kind kafka.

import { readFileSync } from 'node:fs';
import type { Broker, ConnectionOptions } from '@platformatic/kafka';
import { z } from 'zod';
import { Failure, messageOf } from '../../core/errors.ts';
import { matcher } from '../../core/selection.ts';
import { duration, parseSettings } from '../../core/settings.ts';

const MECHANISMS = ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'] as const;
const DEFAULT_PORT = 9092;

const tlsSettings = z.strictObject({
  ca_file: z.string().optional().describe('certificates to trust instead of the system’s, a PEM file'),
  cert_file: z.string().optional().describe('our certificate, where the brokers ask for one, a PEM file'),
  key_file: z.string().optional().describe('the key of our certificate, a PEM file'),
  server_name: z.string().optional().describe('the name that the brokers’ certificates are made out to'),
});
const saslSettings = z.strictObject({
  mechanism: z.enum(MECHANISMS).default('SCRAM-SHA-512').describe('how we sign in'),
  username: z.string().describe('who we are'),
  password: z.string().describe('our secret'),
});
const globs = z.array(z.string().min(1)).nonempty();

export const kafkaSettings = z.strictObject({
  brokers: z
    .union([z.string().min(1), globs])
    .describe('host:port of some brokers, from which the others are learnt: a list, or separated by commas'),
  topics: globs.optional().describe('the topics that are captured, as patterns such as shop.*; all by default'),
  exclude: globs.optional().describe('topics that are not captured, as patterns'),
  groups: globs.optional().describe('the consumer groups whose offsets are captured, as patterns; all by default'),
  acls: z.boolean().default(true).describe('capture and restore access control lists'),
  sasl: saslSettings.optional().describe('sign in'),
  tls: z.union([z.boolean(), tlsSettings]).optional().describe('encrypt the connections: true, or its files'),
  inventory: z
    .enum(['full', 'counts'])
    .default('full')
    .describe('full: every record is digested; counts: records are only counted'),
  timeout: duration.prefault('30s').describe('how long the brokers may give no answer'),
  follow_every: duration.prefault('2s').describe('how often what came is looked for while the cluster is followed'),
  server: z
    .string()
    .optional()
    .describe('the directory of a Kafka that drills start; else KAFKA_HOME or kafka-server-start.sh in PATH says'),
});

export interface Settings {
  readonly brokers: readonly Broker[];
  readonly covers: (topic: string) => boolean;
  readonly coversGroup: (group: string) => boolean;
  /** Topics that are named, without a wildcard: they must be there. */
  readonly named: readonly string[];
  readonly acls: boolean;
  readonly username: string | null;
  readonly connection: Pick<ConnectionOptions, 'sasl' | 'tls'>;
  /** What the brokers' certificates are made out to, where that is not the name that they are reached by. */
  readonly serverName: string | null;
  readonly inventory: 'full' | 'counts';
  readonly timeoutMs: number;
  readonly followEveryMs: number;
}

export function readSettings(input: unknown): Settings {
  const parsed = parseSettings(kafkaSettings, input, 'kafka');
  const { sasl, topics, exclude = [] } = parsed;
  const wanted = matcher(topics ?? ['*']);
  const unwanted = matcher(exclude);
  return {
    brokers: brokersOf(parsed.brokers),
    covers: (topic) => wanted(topic) && !unwanted(topic),
    coversGroup: matcher(parsed.groups ?? ['*']),
    named: (topics ?? []).filter((pattern) => !/[*?]/.test(pattern)),
    acls: parsed.acls,
    username: sasl?.username ?? null,
    connection: { ...(sasl && { sasl }), ...tlsOptions(parsed.tls ?? false) },
    serverName: (typeof parsed.tls === 'object' && parsed.tls.server_name) || null,
    inventory: parsed.inventory,
    timeoutMs: parsed.timeout,
    followEveryMs: parsed.follow_every,
  };
}

/** The same component at another place: 'host:port[,host:port]', or kafka://user:password@host:port. */
export function retarget(settings: unknown, target: string): unknown {
  const { sasl, ...rest } = z.looseObject({ sasl: z.looseObject({}).optional() }).parse(settings);
  const [, user, place = target] = /^kafka:\/\/(?:([^@/]*)@)?([^/]+)\/?$/.exec(target) ?? [];
  brokersOf(place);
  if (user === undefined) return { ...rest, brokers: place, ...(sasl && { sasl }) };
  const [username = '', password] = user.split(':').map(decodeURIComponent);
  return { ...rest, brokers: place, sasl: { ...sasl, username, ...(password === undefined ? {} : { password }) } };
}

function brokersOf(brokers: string | readonly string[]): Broker[] {
  const texts = typeof brokers === 'string' ? brokers.split(',') : brokers;
  return texts.map((text) => {
    const url = URL.parse(`tcp://${text.trim()}`);
    const plain = url && url.hostname !== '' && url.pathname === '' && url.username === '';
    if (!plain) throw new Failure('settings-invalid', `kafka: brokers: '${text}' is not of the form host:port`);
    const host = url.hostname.replace(/^\[|\]$/g, '');
    return { host, port: url.port === '' ? DEFAULT_PORT : Number(url.port) };
  });
}

function tlsOptions(tls: boolean | z.output<typeof tlsSettings>): Pick<ConnectionOptions, 'tls'> {
  if (tls === false) return {};
  const files = tls === true ? {} : tls;
  const pems = { ca: readFile(files.ca_file), cert: readFile(files.cert_file), key: readFile(files.key_file) };
  return { tls: Object.fromEntries(Object.entries(pems).filter(([, pem]) => pem !== undefined)) };
}

function readFile(path: string | undefined): Buffer | undefined {
  if (path === undefined) return undefined;
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new Failure('settings-invalid', `kafka: tls: ${path} can't be read: ${messageOf(cause)}`, { cause });
  }
}

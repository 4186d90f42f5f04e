// What a service of a docker-compose file is, by its image.

import type { Found } from './found.ts';

/** A service, with what Compose puts into its texts left for `value`. */
export interface Service {
  /** Without its registry, its folders and its tag: 'postgres'. */
  readonly image: string;
  readonly tag: string;
  readonly env: Readonly<Record<string, string>>;
  /** As Compose would read it. */
  value(text: string): string;
  /** A reference to the variable that Compose takes this one from, never what it is. */
  secret(name: string): string;
  /** The port of this machine that leads to it. */
  port(inside: number): number;
}
type Settings = Found['settings'];
interface Recognised {
  readonly kind: string;
  readonly settings: Settings;
}

const KINDS: readonly {
  readonly kind: string;
  readonly images: readonly string[];
  readonly settings: (service: Service) => Settings;
}[] = [
  {
    kind: 'postgresql',
    images: ['postgres', 'postgresql', 'postgis', 'timescaledb', 'pgvector'],
    settings: ({ env, value, secret, port }) => ({
      host: 'localhost',
      port: port(5432),
      user: value(env.POSTGRES_USER ?? 'postgres'),
      password: secret('POSTGRES_PASSWORD'),
      databases: env.POSTGRES_DB ? [value(env.POSTGRES_DB)] : 'all',
    }),
  },
  {
    kind: 'redis',
    images: ['redis', 'valkey', 'redis-stack-server'],
    settings: ({ port }) => ({ host: 'localhost', port: port(6379) }),
  },
  { kind: 's3', images: ['minio'], settings: minio },
  { kind: 's3', images: ['seaweedfs'], settings: ({ port }) => s3At(port(8333)) },
  {
    kind: 's3',
    images: ['versitygw'],
    settings: ({ secret, port }) => ({
      ...s3At(port(7070)),
      access_key: secret('ROOT_ACCESS_KEY'),
      secret_key: secret('ROOT_SECRET_KEY'),
    }),
  },
  { kind: 'elasticsearch', images: ['elasticsearch'], settings: elasticsearch },
  { kind: 'elasticsearch', images: ['opensearch'], settings: opensearch },
  { kind: 'loki', images: ['loki'], settings: ({ port }) => ({ url: `http://localhost:${port(3100)}` }) },
  { kind: 'kafka', images: ['kafka', 'kafka-native', 'cp-kafka', 'cp-server'], settings: kafka },
  {
    kind: 'zookeeper',
    images: ['zookeeper', 'cp-zookeeper'],
    settings: ({ env, value, port }) => ({
      hosts: `localhost:${port(Number(value(env.ZOOKEEPER_CLIENT_PORT ?? env.ZOO_PORT_NUMBER ?? '2181')))}`,
    }),
  },
];
/** What stands beside a server, and is called after it. */
const BESIDE =
  /exporter|dashboard|commander|insight|sentinel|operator|admin|navigator|canary|driver|connect|console|-ui\b|backup/;

export function recognised(service: Service): Recognised | null {
  const { image } = service;
  if (BESIDE.test(image)) return null;
  const known =
    KINDS.find(({ images }) => images.includes(image)) ??
    KINDS.find(({ images, kind }) => kind !== 'kafka' && images.some((each) => image.startsWith(`${each}-`)));
  return known ? { kind: known.kind, settings: known.settings(service) } : null;
}

function s3At(port: number): { endpoint: string; buckets: string } {
  return { endpoint: `http://localhost:${port}`, buckets: 'all' };
}

/** Older ones had other names for its first user. */
function minio({ env, secret, port }: Service): Settings {
  const [user, password] =
    env.MINIO_ACCESS_KEY === undefined
      ? ['MINIO_ROOT_USER', 'MINIO_ROOT_PASSWORD']
      : ['MINIO_ACCESS_KEY', 'MINIO_SECRET_KEY'];
  return { ...s3At(port(9000)), access_key: secret(user), secret_key: secret(password) };
}

/** From version 8 on it is safe unless told otherwise. */
function elasticsearch({ tag, env, value, secret, port }: Service): Settings {
  const said = (name: string): string => value(env[name] ?? '');
  const isNew = Number.parseInt(tag, 10) >= 8;
  if (said('xpack.security.enabled') === 'false' || (!isNew && env.ELASTIC_PASSWORD === undefined)) {
    return { url: `http://localhost:${port(9200)}` };
  }
  const ssl = said('xpack.security.http.ssl.enabled');
  const scheme = ssl === 'true' || (isNew && ssl !== 'false') ? 'https' : 'http';
  return { url: `${scheme}://localhost:${port(9200)}`, username: 'elastic', password: secret('ELASTIC_PASSWORD') };
}

function opensearch({ env, value, secret, port }: Service): Settings {
  const isOpen = ['DISABLE_SECURITY_PLUGIN', 'plugins.security.disabled'].some(
    (name) => value(env[name] ?? '') === 'true',
  );
  if (isOpen) return { url: `http://localhost:${port(9200)}` };
  const password = secret('OPENSEARCH_INITIAL_ADMIN_PASSWORD');
  return { url: `https://localhost:${port(9200)}`, username: 'admin', password };
}

/** Brokers send their clients on to where they say that they are: one of these addresses is for this machine. */
function kafka({ env, value, port }: Service): Settings {
  const said = value(env.KAFKA_ADVERTISED_LISTENERS ?? env.KAFKA_CFG_ADVERTISED_LISTENERS ?? '');
  const here = /:\/\/((?:localhost|127\.0\.0\.1):\d+)/.exec(said)?.[1];
  return { brokers: here ?? `localhost:${port(9092)}` };
}

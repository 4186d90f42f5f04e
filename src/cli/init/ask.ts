import { cancel, confirm, intro, isCancel, outro, text } from '@clack/prompts';
import { Failure } from '../../core/errors.ts';
import { parseDuration } from '../../core/settings.ts';
import type { Found } from './found.ts';
import { type InitChoice, NIGHTLY_RPO } from './template.ts';

/** Asks a person, with what was found as the answers to start from. */
export async function ask(defaults: InitChoice): Promise<InitChoice> {
  intro('Lifeboat: a first configuration');
  const stack = await answer('What is this stack called?', defaults.stack);
  const storeUrl = await answer(
    'Where shall recovery points go? (a directory, or s3://BUCKET/PREFIX)',
    defaults.storeUrl,
  );
  const endpoint = storeUrl.startsWith('s3://')
    ? await answer('The S3 server (leave empty for AWS)', defaults.endpoint ?? '')
    : '';
  const components: Found[] = [];
  for (const each of defaults.components) {
    const wanted = await confirm({ message: `Protect ${each.kind} from ${each.from} as ${each.name}?` });
    if (isCancel(wanted)) throw stopped();
    if (wanted) components.push(each);
  }
  if (components.length === 0) components.push(...(await askComponents()));
  const rpo = await answer(
    `How much may be lost at most? (${NIGHTLY_RPO}: a backup each night keeps that)`,
    NIGHTLY_RPO,
    isDuration,
  );
  const rto = await answer('How soon must all be back, such as 4h? (empty: not decided yet)', '', isDurationOrEmpty);
  outro('Thank you.');
  return {
    ...defaults,
    stack,
    storeUrl,
    endpoint: endpoint === '' ? undefined : endpoint,
    components,
    promised: { rpo, rto: rto === '' ? undefined : rto },
  };
}

/** In the order they are asked for; an answer that is empty means that there is none. */
const QUESTIONS: readonly {
  readonly name: string;
  readonly kind: string;
  readonly message: string;
  readonly settings: (given: string) => Found['settings'];
}[] = [
  {
    name: 'main-db',
    kind: 'postgresql',
    message: 'PostgreSQL to protect, as postgresql://user@host:5432/database',
    settings: (url) => ({ url }),
  },
  { name: 'cache', kind: 'redis', message: 'Redis to protect, as redis://host:6379', settings: (url) => ({ url }) },
  {
    name: 'files',
    kind: 'files',
    message: 'Directories to protect, separated by commas',
    settings: (paths) => ({ paths: paths.split(',').map((path) => path.trim()) }),
  },
  {
    name: 'objects',
    kind: 's3',
    message:
      'MinIO or other S3 to protect, as http://host:9000; its keys are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY',
    settings: (endpoint) => ({ endpoint, buckets: 'all' }),
  },
  {
    name: 'search',
    kind: 'elasticsearch',
    message: 'Elasticsearch or OpenSearch to protect, as https://user:password@host:9200',
    settings: (url) => ({ url }),
  },
  { name: 'logs', kind: 'loki', message: 'Loki to protect, as http://host:3100', settings: (url) => ({ url }) },
  {
    name: 'events',
    kind: 'kafka',
    message: 'Kafka to protect, as host:9092,host:9092',
    settings: (brokers) => ({ brokers }),
  },
  {
    name: 'coordination',
    kind: 'zookeeper',
    message: 'ZooKeeper to protect, as host:2181,host:2181',
    settings: (hosts) => ({ hosts }),
  },
];

async function askComponents(): Promise<Found[]> {
  const found: Found[] = [];
  for (const { name, kind, message, settings } of QUESTIONS) {
    const given = await answer(`${message} (empty for none)`, '');
    if (given !== '') found.push({ name, kind, settings: settings(given), from: 'your answer' });
  }
  return found;
}

async function answer(message: string, initialValue: string, isRight = (_given: string) => true): Promise<string> {
  const validate = (given = ''): string | undefined =>
    isRight(given.trim()) ? undefined : "a duration such as '15m', '4h' or '1d'";
  const given = await text({ message, initialValue, validate });
  if (isCancel(given)) throw stopped();
  return given.trim();
}

function isDuration(given: string): boolean {
  return parseDuration(given) !== null;
}

function isDurationOrEmpty(given: string): boolean {
  return given === '' || isDuration(given);
}

function stopped(): Failure {
  cancel('Nothing was written.');
  return new Failure('interrupted', 'init was stopped; nothing was written');
}

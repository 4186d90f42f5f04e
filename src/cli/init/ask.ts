import { cancel, confirm, intro, isCancel, outro, text } from '@clack/prompts';
import { Failure } from '../../core/errors.ts';
import type { Found } from './detect.ts';
import type { InitChoice } from './template.ts';

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
  outro('Thank you.');
  return { ...defaults, stack, storeUrl, endpoint: endpoint === '' ? undefined : endpoint, components };
}

async function askComponents(): Promise<Found[]> {
  const found: Found[] = [];
  const postgres = await answer('PostgreSQL to protect, as postgresql://user@host:5432/database (empty for none)', '');
  if (postgres !== '')
    found.push({ name: 'main-db', kind: 'postgresql', settings: { url: postgres }, from: 'your answer' });
  const redis = await answer('Redis to protect, as redis://host:6379 (empty for none)', '');
  if (redis !== '') found.push({ name: 'cache', kind: 'redis', settings: { url: redis }, from: 'your answer' });
  const paths = await answer('Directories to protect, separated by commas (empty for none)', '');
  if (paths !== '') {
    const list = paths.split(',').map((path) => path.trim());
    found.push({ name: 'files', kind: 'files', settings: { paths: list }, from: 'your answer' });
  }
  return found;
}

async function answer(message: string, initialValue: string): Promise<string> {
  const given = await text({ message, initialValue });
  if (isCancel(given)) throw stopped();
  return given.trim();
}

function stopped(): Failure {
  cancel('Nothing was written.');
  return new Failure('interrupted', 'init was stopped; nothing was written');
}

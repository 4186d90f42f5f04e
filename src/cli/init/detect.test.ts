import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromCompose, fromEnvironment } from './detect.ts';
import { withoutSecrets } from './template.ts';

test('an environment names its servers, and no secret is taken out of it', () => {
  const env = {
    DATABASE_URL: 'postgresql://u:hush@db/shop',
    REDIS_HOST: 'cache',
    REDIS_PORT: '6380',
    REDIS_PASSWORD: 'hush',
  };
  const found = fromEnvironment(env);
  assert.deepEqual(
    found.map(({ kind, settings }) => ({ kind, settings })),
    [
      { kind: 'postgresql', settings: { url: `\${env:DATABASE_URL}` } },
      { kind: 'redis', settings: { host: 'cache', port: 6380, password: `\${env:REDIS_PASSWORD}` } },
    ],
  );
  assert.ok(!JSON.stringify(found).includes('hush'));
});

test("the variables of PostgreSQL's own programs are understood", () => {
  const [found] = fromEnvironment({ PGHOST: 'db', PGUSER: 'backup', PGDATABASE: 'core', PGPORT: '5433' });
  assert.deepEqual(found?.settings, { host: 'db', port: 5433, user: 'backup', databases: ['core'] });
});

test('a compose file names its servers with the ports that it publishes', () => {
  const text = `
services:
  ait-postgres:
    image: docker.io/library/postgres:16-alpine
    environment: [POSTGRES_USER=aitcore, POSTGRES_DB=soriano_core, POSTGRES_PASSWORD=hush]
    ports: ["127.0.0.1:15432:5432"]
  ait-redis: { image: "redis:7", ports: ["6380:6379/tcp"] }
  web: { image: "nginx" }
`;
  const found = fromCompose(text, 'docker-compose.yml', {});
  assert.deepEqual(
    found.map(({ name, settings }) => [name, settings.host, settings.port]),
    [
      ['ait-postgres', 'localhost', 15432],
      ['ait-redis', 'localhost', 6380],
    ],
  );
  assert.ok(!JSON.stringify(found).includes('hush'));
  assert.throws(() => fromCompose('services: 7', 'x.yml', {}), { code: 'settings-invalid' });
});

test('variables of a compose file count as Compose counts them, and ports in their long form too', () => {
  const text = `
services:
  db:
    image: "postgres:\${PG_VERSION:-16}"
    environment:
      POSTGRES_USER: \${DB_USER:-shop}
      POSTGRES_DB: \${DB_NAME}
      POSTGRES_PASSWORD: \${DB_SECRET:-hush}
    ports: [{ target: 5432, published: "5433", protocol: tcp }]
  other: { image: postgres, environment: [POSTGRES_USER=$OTHER, POSTGRES_DB=a$$b], ports: ["\${PORT:-5434}:5432"] }
`;
  const [db, other] = fromCompose(text, 'compose.yml', { DB_USER: '', OTHER: 'me' });
  assert.deepEqual(db?.settings, {
    host: 'localhost',
    port: 5433,
    user: 'shop',
    password: `\${env:DB_SECRET}`,
    databases: [`\${env:DB_NAME}`],
  });
  assert.deepEqual([other?.settings.user, other?.settings.port, other?.settings.databases], ['me', 5434, ['a$b']]);
});

test('a variable that a compose file names without a value is the one of the environment', () => {
  const text = `
services:
  db: { image: postgres, environment: { POSTGRES_USER: null, POSTGRES_DB: null, POSTGRES_PASSWORD: null } }
  other: { image: postgres, environment: [POSTGRES_USER, POSTGRES_DB=a=b] }
`;
  const [db, other] = fromCompose(text, 'compose.yml', { POSTGRES_USER: 'shop' });
  assert.deepEqual(
    [db?.settings.user, db?.settings.databases, db?.settings.password],
    ['shop', [`\${env:POSTGRES_DB}`], `\${env:POSTGRES_PASSWORD}`],
  );
  assert.deepEqual([other?.settings.user, other?.settings.databases], ['shop', ['a=b']]);
});

test('a password in a URL that somebody typed goes into a file of its own, not into the configuration', () => {
  const typed = (name: string, url: string) => ({ name, kind: 'redis', settings: { url }, from: 'your answer' });
  const { components, secrets } = withoutSecrets(
    [typed('cache', 'redis://:hush@cache'), typed('b', 'redis://b')],
    '/etc/x',
  );
  assert.deepEqual(
    components.map(({ settings }) => settings.url),
    [`\${file:/etc/x/cache.url}`, 'redis://b'],
  );
  assert.deepEqual(secrets, [{ file: '/etc/x/cache.url', text: 'redis://:hush@cache' }]);
});

import { dirname } from 'node:path';
import { after } from 'node:test';
import { installed } from '../../../test/servers/install.ts';
import { startLoki } from '../../../test/servers/loki.ts';
import { missing } from '../../../test/servers/need.ts';
import { driverSuite, type FilledService, type Service } from '../driver.suite.ts';
import { lokiDriver } from './driver.ts';
import { fill, nsAgo, push } from './testing.ts';

const skip = await missing('loki-3');
// Sandboxes run what is found in PATH.
if (skip === false) process.env.PATH = `${process.env.PATH}:${dirname(await installed('loki-3'))}`;

const CANARY = 'canary-of-loki';
let tenants = 0;
const server = skip === false ? startLoki({ tenants: true, limits: ['max_query_length: 0'] }) : null;
after(async () => await (await server)?.[Symbol.asyncDispose]());

async function place(): Promise<Service & { settings: { url: string; tenant: string; since: string } }> {
  const url = (await server)?.url ?? '';
  const who = { username: 'lifeboat', password: CANARY, token: CANARY };
  return {
    settings: { url, tenant: `tenant-${++tenants}`, since: '2d', ...who },
    [Symbol.asyncDispose]: async () => {},
  };
}

async function filled(): Promise<FilledService> {
  const { settings, ...rest } = await place();
  await fill(settings);
  return {
    ...rest,
    settings,
    change: () => push(settings, [{ stream: { app: 'late' }, values: [[nsAgo(26 * 3_600_000), 'came late']] }]),
  };
}

driverSuite({
  driver: lokiDriver,
  name: 'loki 3.7',
  skip,
  filled,
  empty: place,
  nowhere: { url: 'http://127.0.0.1:1' },
  secret: CANARY,
  except: {
    'brings back what was lost, and only that': 'chosen streams come back with restore --select',
    'restores beside the live data, which stays until it is published': 'a Loki has no place beside its lines',
    'restores over data when told to replace it': 'a Loki takes no line away at once: what came since stays',
  },
});

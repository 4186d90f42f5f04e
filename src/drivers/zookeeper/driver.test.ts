import { dirname } from 'node:path';
import { after } from 'node:test';
import { installed } from '../../../test/servers/install.ts';
import { missing } from '../../../test/servers/need.ts';
import { startZookeeper, type Zookeeper } from '../../../test/servers/zookeeper.ts';
import { liveContext } from '../../core/testing.ts';
import { driverSuite, type FilledService, type Service } from '../driver.suite.ts';
import { zookeeperDriver } from './driver.ts';
import { fill, make, openClient, set } from './testing.ts';

const PASSWORD = 'canary-of-the-password';

const skip = await missing('zookeeper-3.9');
// Sandboxes run what is found there.
if (skip === false) process.env.ZOOKEEPER_HOME = dirname(await installed('zookeeper-3.9'));

let shared: Promise<Zookeeper> | undefined;
after(async () => await (await shared)?.[Symbol.asyncDispose]());
let roots = 0;

async function place(): Promise<Service & { settings: { hosts: string; root: string } }> {
  shared ??= startZookeeper({ superPassword: PASSWORD });
  const { hosts } = await shared;
  const settings = { hosts, root: `/apps-${++roots}/shop`, username: 'super', password: PASSWORD };
  return { settings, [Symbol.asyncDispose]: async () => {} };
}

async function filled(): Promise<FilledService> {
  const { settings, ...rest } = await place();
  const ctx = liveContext();
  await using client = await openClient(ctx, { ...settings, root: '/' });
  const { root } = settings;
  const parent = root.slice(0, root.lastIndexOf('/'));
  await make(client, parent);
  await fill(client, root);
  return {
    ...rest,
    settings,
    async change() {
      await using again = await openClient(ctx, settings);
      await set(again, `${root}/a/x`, 'changed');
    },
  };
}

driverSuite({
  driver: zookeeperDriver,
  name: 'zookeeper 3.9',
  skip,
  filled,
  empty: place,
  nowhere: { hosts: '127.0.0.1:1' },
  secret: PASSWORD,
  except: {
    'brings back what was lost, and only that': 'chosen znodes come back with restore --select',
    'restores beside the live data, which stays until it is published': 'restore --rename does that',
  },
});

// The suite of drivers on one version of the server.

import { dirname } from 'node:path';
import { installed } from '../../../test/servers/install.ts';
import type { OpenSearchName, OpenSearchOptions } from '../../../test/servers/opensearch.ts';
import { driverSuite } from '../driver.suite.ts';
import { elasticsearchDriver } from './driver.ts';
import { emptied, fill, sharedCluster } from './testing.ts';

const PASSWORD = 'canary-of-the-password';
const nothing = { async [Symbol.asyncDispose]() {} };

export async function suiteOn(name: OpenSearchName, skip: string | false, options?: OpenSearchOptions): Promise<void> {
  // Sandboxes run what is found in PATH.
  if (skip === false) process.env.PATH = `${dirname(await installed(name))}:${process.env.PATH}`;
  const source = sharedCluster(name, 'source', options);
  const target = sharedCluster(name, 'target', options);
  driverSuite({
    driver: elasticsearchDriver,
    name: `elasticsearch on ${name}`,
    skip,
    async filled() {
      const cluster = await emptied(await source());
      await fill(cluster);
      return {
        ...nothing,
        settings: { url: cluster.url, username: 'backup', password: PASSWORD },
        async change() {
          await cluster.bulk('/products', [{ index: { _id: 'p7' } }, { name: 'changed' }]);
        },
      };
    },
    async empty() {
      const { url } = await emptied(await target());
      return { ...nothing, settings: { url, username: 'backup', password: PASSWORD } };
    },
    nowhere: { url: 'http://127.0.0.1:1' },
    secret: PASSWORD,
    except: {
      'brings back what was lost, and only that': 'chosen indices come back with restore --select',
      'restores beside the live data, which stays until it is published': 'restore --rename does that',
    },
  });
}

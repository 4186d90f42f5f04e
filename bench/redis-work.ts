// One capture of a Redis into a file, in a process of its own so that it can be measured: URL INVENTORY FILE

import { createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Bytes, Sink } from '../src/core/model.ts';
import { redisDriver } from '../src/drivers/redis/driver.ts';
import { ctx } from './context.ts';

const [url = '', inventory = '', file = ''] = process.argv.slice(2);
const sink: Sink = {
  async put(_ctx, name, body) {
    const path = name === 'dump.rdb' ? file : `${file}.${name}`;
    let bytes = 0;
    async function* counted(): Bytes {
      for await (const chunk of body) {
        bytes += chunk.length;
        yield Buffer.from(chunk); // chunks are borrowed, and a stream keeps what it could not write yet
      }
    }
    await pipeline(Readable.from(counted(), { objectMode: true, highWaterMark: 4 }), createWriteStream(path));
    return { name, bytes, digest: '', point: '', component: '' };
  },
  keep: () => Promise.reject(new Error('there is nothing to keep')),
  receipt: () => Promise.reject(new Error('files give no receipt')),
};
await redisDriver.open({ url, inventory }).capture(ctx, sink);

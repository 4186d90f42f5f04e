// A real S3 whose objects can be archived: what Amazon documents of storage class Glacier, put before it as a proxy.

import { s3Bucket } from '../../src/buckets/s3/bucket.ts';
import { type Exchange, type HttpFault, refusal, startFaultProxy } from '../../src/buckets/s3/fault-proxy.ts';
import { testContext } from '../../src/core/testing.ts';
import type { S3Server } from '../servers/s3.ts';

interface Cold {
  readonly storageClass: string;
  readonly bytes: number;
  state: 'archived' | 'thawing' | 'thawed';
}

export interface Glacier extends AsyncDisposable {
  readonly endpoint: string;
  /** Archives what matches and nothing else, and forgets what was asked for. How many objects that are. */
  archive(key: RegExp, storageClass?: string): Promise<number>;
  /** The keys that were asked for, each as often as it was, with the bodies left out. */
  readonly asked: readonly string[];
  /** What was asked for is back. */
  thaw(): void;
  /** From now on it is back as soon as it was asked for and looked at. */
  thawAtOnce(): void;
}

const EXPIRY = 'Fri, 21 Dec 2040 00:00:00 GMT';

export async function startGlacier({ endpoint, bucket, ...server }: S3Server): Promise<Glacier> {
  const cold = new Map<string, Cold>();
  const asked: string[] = [];
  let atOnce = false;

  function choose({ line }: Exchange): HttpFault | undefined {
    const [, method = '', path = ''] = /^(\w+) (\S+)/.exec(line) ?? [];
    if (/list-type=2/.test(path)) return { rewrite: (body) => body.replace(/<Contents>.*?<\/Contents>/gs, listed) };
    const key = decodeURIComponent(path.replace(/\?.*/, '').slice(`/${bucket}/`.length));
    const object = cold.get(key);
    if (!object) return undefined;
    if (method === 'POST' && /\?restore/.test(path)) return restoreAnswer(key, object);
    if (method === 'HEAD') return headAnswer(object);
    return method === 'GET' && object.state !== 'thawed' ? refusal(403, 'InvalidObjectState') : undefined;
  }
  /** A listing tells the class; what was thawed is told only where it is asked for, so here it is not. */
  function listed(entry: string): string {
    const object = cold.get(decodeURIComponent(/<Key>(.*?)<\/Key>/s.exec(entry)?.[1] ?? ''));
    if (!object) return entry;
    return entry.replace(/<StorageClass>\w+</, `<StorageClass>${object.storageClass}<`);
  }
  function restoreAnswer(key: string, object: Cold): HttpFault {
    asked.push(key);
    if (object.state === 'thawing') return refusal(409, 'RestoreAlreadyInProgress');
    const answer = object.state === 'thawed' ? 200 : 202;
    object.state = 'thawing';
    return { answer };
  }
  function headAnswer(object: Cold): HttpFault {
    const restore =
      object.state === 'archived'
        ? {}
        : {
            'x-amz-restore':
              object.state === 'thawing'
                ? 'ongoing-request="true"'
                : `ongoing-request="false", expiry-date="${EXPIRY}"`,
          };
    if (atOnce && object.state === 'thawing') object.state = 'thawed';
    const headers = {
      'content-length': String(object.bytes),
      'last-modified': new Date(0).toUTCString(),
      'x-amz-storage-class': object.storageClass,
    };
    return { answer: 200, headers: { ...headers, ...restore } };
  }

  const proxy = await startFaultProxy(endpoint, choose);
  return {
    endpoint: proxy.endpoint,
    asked,
    async archive(pattern, storageClass = 'GLACIER') {
      const { region, accessKey: access_key, secretKey: secret_key } = server;
      const truth = s3Bucket(`s3://${bucket}`, { endpoint, region, access_key, secret_key });
      cold.clear();
      asked.length = 0;
      atOnce = false;
      let count = 0;
      for await (const { key, bytes } of truth.list(testContext(), '')) {
        if (!pattern.test(key)) continue;
        cold.set(key, { storageClass, bytes, state: 'archived' });
        count += 1;
      }
      await truth.close();
      return count;
    },
    thaw() {
      for (const object of cold.values()) if (object.state === 'thawing') object.state = 'thawed';
    },
    thawAtOnce: () => void (atOnce = true),
    [Symbol.asyncDispose]: () => proxy[Symbol.asyncDispose](),
  };
}

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { installed, type ServerName } from './install.ts';
import { host, type Launch, removeDir, type Server, startOnFreePorts, startServer, temporaryDir } from './processes.ts';

export type S3Name = Extract<ServerName, 'seaweedfs' | 'versitygw' | 'minio'>;

export interface S3Server extends Server {
  readonly endpoint: string;
  readonly region: string;
  readonly accessKey: string;
  readonly secretKey: string;
  /** An empty one that exists. */
  readonly bucket: string;
}

const keys = { accessKey: 'testkey', secretKey: 'testsecret123' };
const region = 'us-east-1';
const bucket = 'lifeboat-test';
/** A bucket is also found at <bucket>.<s3Domain>, by who knows that this is 127.0.0.1. Not so in SeaweedFS. */
export const s3Domain = 's3.test';

/**
 * `prepare` gets the directory of its data before the server does; MinIO's may be a disk of its own. `parent` is for
 * data that would be too much for memory.
 */
export async function startS3(name: S3Name, prepare?: (data: string) => void, parent?: string): Promise<S3Server> {
  const program = await installed(name);
  const dir = temporaryDir(name, null, parent);
  prepare?.(join(dir, 'data'));
  return await startOnFreePorts(9, async (port = 0, ...others) => {
    const endpoint = `http://${host}:${port}`;
    const launch = LAUNCHES[name](program, dir, port, others);
    await using server = new AsyncDisposableStack();
    const started = server.use(await startServer(launch, () => answers(endpoint)));
    await makeBucket(endpoint);
    server.move();
    return {
      ...started,
      ...{ endpoint, region, ...keys, bucket },
      get pid() {
        return started.pid;
      },
      async [Symbol.asyncDispose]() {
        await started[Symbol.asyncDispose]();
        removeDir(dir);
      },
    };
  });
}

const LAUNCHES: Readonly<Record<S3Name, (program: string, dir: string, port: number, others: number[]) => Launch>> = {
  seaweedfs(program, dir, port, [master, volume, filer, ...grpc]) {
    const access = [{ accessKey: keys.accessKey, secretKey: keys.secretKey }];
    const actions = ['Admin', 'Read', 'Write', 'List', 'Tagging'];
    const config = join(dir, 's3.json');
    writeFileSync(config, JSON.stringify({ identities: [{ name: 'admin', credentials: access, actions }] }));
    const data = join(dir, 'data');
    mkdirSync(data, { recursive: true });
    const args = ['server', `-dir=${data}`, `-ip=${host}`, `-ip.bind=${host}`, '-master.telemetry=false'];
    args.push(`-master.port=${master}`, `-volume.port=${volume}`, '-filer', `-filer.port=${filer}`);
    args.push(`-master.port.grpc=${grpc[0]}`, `-volume.port.grpc=${grpc[1]}`, `-filer.port.grpc=${grpc[2]}`);
    args.push('-s3', `-s3.port=${port}`, `-s3.port.grpc=${grpc[3]}`, `-s3.config=${config}`);
    args.push('-s3.port.iceberg=0', '-s3.port.lance=0', '-volume.max=20', '-master.volumeSizeLimitMB=64');
    return { program, args };
  },
  versitygw(program, dir, port) {
    const data = join(dir, 'data');
    mkdirSync(data, { recursive: true });
    const iam = join(dir, 'iam');
    mkdirSync(iam, { recursive: true });
    const args = ['--port', `${host}:${port}`, '--region', region, '--quiet', '--health', '/health'];
    args.push('--iam-dir', iam, '--virtual-domain', s3Domain, 'posix', data);
    return { program, args, env: { ROOT_ACCESS_KEY: keys.accessKey, ROOT_SECRET_KEY: keys.secretKey } };
  },
  minio(program, dir, port, [console]) {
    const args = [
      'server',
      join(dir, 'data'),
      '--address',
      `${host}:${port}`,
      '--console-address',
      `${host}:${console}`,
    ];
    const env = { MINIO_ROOT_USER: keys.accessKey, MINIO_ROOT_PASSWORD: keys.secretKey, MINIO_DOMAIN: s3Domain };
    return { program, args, env };
  },
};

async function answers(endpoint: string): Promise<boolean> {
  try {
    await (await fetch(endpoint, { signal: AbortSignal.timeout(5_000) })).arrayBuffer();
    return true; // even if it is only to say that we may not
  } catch {
    return false;
  }
}

async function makeBucket(endpoint: string): Promise<void> {
  const credentials = { accessKeyId: keys.accessKey, secretAccessKey: keys.secretKey };
  // The parts of SeaweedFS come up one after another, so the first attempts may be refused.
  const client = new S3Client({ endpoint, region, credentials, forcePathStyle: true, maxAttempts: 12 });
  try {
    await client.send(new CreateBucketCommand({ Bucket: bucket }));
  } finally {
    client.destroy();
  }
}

import type { S3, S3ClientConfig } from '@aws-sdk/client-s3';
import { interruption } from '../../core/context.ts';
import type { Context } from '../../core/model.ts';
import { gate } from '../../core/parallel.ts';
import type { RetryOptions } from '../retrying.ts';
import { credentialsOf } from './credentials.ts';
import { dialectOf, endpointOf } from './dialects.ts';
import { failureOf, statusOf } from './failures.ts';
import { parseS3Url, type S3Settings } from './settings.ts';

const CONNECT_MS = 10_000;
/** A request on which nothing moves for so long is cut off; the SDK counts from the last byte either way. */
const STUCK_MS = 2 * 60_000;
const PATIENCE_MS = 15 * 60_000;
/** A server that never gave an answer is rather misspelt than overloaded. */
const PATIENCE_UNSEEN_MS = 60_000;

/** What goes with each call of the SDK. */
interface CallOptions {
  readonly abortSignal: AbortSignal;
}
/** One bucket of one S3 server. The SDK is loaded and connected at the first call. */
export interface Connection {
  readonly url: string;
  readonly bucket: string;
  readonly prefix: string;
  readonly settings: S3Settings;
  readonly retry: RetryOptions;
  /** One request; every way it can fail comes out as a Failure that says `what` was attempted. */
  call<T>(ctx: Context, what: string, work: (s3: S3, options: CallOptions) => Promise<T>): Promise<T>;
  /** The server's clock when it last answered. */
  answeredAt(): Date | undefined;
  /** Lists folder by folder, so that 'a/b' comes before 'a-b': SeaweedFS, as it calls itself in its answers. */
  ordersByFolder(): boolean;
  close(): Promise<void>;
}

export function connect(url: string, settings: S3Settings, stuckMs = STUCK_MS): Connection {
  const requests = gate(settings.connections);
  let client: Promise<S3> | undefined;
  let answered = false;
  let answeredAt: Date | undefined;
  let server = '';

  async function open(ctx: Context): Promise<S3> {
    const { S3 } = await import('@aws-sdk/client-s3');
    const s3 = new S3(await configOf(ctx, settings, stuckMs));
    onAnswer(s3, dialectOf(ctx, settings).checksums, (headers) => {
      const date = new Date(headers.date ?? '');
      if (!Number.isNaN(date.getTime())) answeredAt = date;
      server = headers.server ?? server;
    });
    return s3;
  }
  return {
    url,
    ...parseS3Url(url),
    settings,
    retry: { patienceMs: () => (answered ? PATIENCE_MS : PATIENCE_UNSEEN_MS) },
    async call(ctx, what, work) {
      return await requests.run(async () => {
        ctx.signal.throwIfAborted();
        try {
          const result = await work(await (client ??= open(ctx)), { abortSignal: ctx.signal });
          answered = true;
          return result;
        } catch (error) {
          if (ctx.signal.aborted) throw interruption(ctx.signal);
          answered ||= statusOf(error) > 0;
          throw failureOf(error, what, url);
        }
      });
    },
    answeredAt: () => answeredAt,
    ordersByFolder: () => /seaweedfs/i.test(server),
    async close() {
      const opened = await client?.catch(() => undefined); // one that could not be opened holds nothing
      opened?.destroy();
    },
  };
}

/** Everything that changes what the SDK does is said here, so that it does not look into process.env for it. */
async function configOf(ctx: Context, settings: S3Settings, stuckMs: number): Promise<S3ClientConfig> {
  const { env } = ctx;
  const endpoint = endpointOf(ctx, settings);
  const agent = { keepAlive: true, maxSockets: Number.POSITIVE_INFINITY, maxFreeSockets: settings.connections };
  return {
    ...(endpoint ? { endpoint } : {}),
    region: settings.region ?? env.AWS_REGION ?? env.AWS_DEFAULT_REGION ?? 'us-east-1',
    credentials: await credentialsOf(ctx, settings),
    forcePathStyle: settings.path_style ?? endpoint !== undefined,
    maxAttempts: 1,
    retryMode: 'standard',
    defaultsMode: 'standard',
    useFipsEndpoint: false,
    useDualstackEndpoint: false,
    useArnRegion: false,
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    expectContinueHeader: false, // it would cost a connection for each request
    requestHandler: {
      connectionTimeout: CONNECT_MS,
      socketTimeout: stuckMs,
      socketAcquisitionWarningTimeout: STUCK_MS,
      httpAgent: agent,
      httpsAgent: agent,
    },
  };
}

type Headers = Readonly<Record<string, string | undefined>>;

/** Signs a body by the SHA-256 that is known already, and hears what the server says of itself. */
function onAnswer(s3: S3, checksums: boolean, hear: (headers: Headers) => void): void {
  s3.middlewareStack.add(
    (next) => async (args) => {
      const { headers } = args.request as { headers: Record<string, string> };
      const sum = headers['x-amz-checksum-sha256'];
      if (sum !== undefined) headers['x-amz-content-sha256'] = Buffer.from(sum, 'base64').toString('hex');
      if (!checksums) delete headers['x-amz-checksum-sha256'];
      const result = await next(args);
      hear((result.response as { headers?: Headers }).headers ?? {});
      return result;
    },
    { step: 'build', priority: 'low', name: 'lifeboatKnownHash' },
  );
}

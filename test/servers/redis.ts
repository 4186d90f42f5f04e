import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { installed, type ServerName } from './install.ts';
import { host, removeDir, type Server, startOnFreePorts, startServer, temporaryDir } from './processes.ts';
import { type Certificate, certificateIn } from './tls.ts';

export type RedisName = Extract<ServerName, `redis-${number}` | `valkey-${number}`>;
export const redisNames: readonly RedisName[] = ['redis-7', 'redis-8', 'valkey-8', 'valkey-9'];

export interface RedisOptions {
  /** Further arguments, later ones win: ['--requirepass', 'x', '--user', 'backup on >secret ~* &* +@all']. */
  readonly args?: readonly string[];
  /** Only encrypted connections are let in. Needs a server that was built with it: redis-7 is. */
  readonly tls?: boolean;
}
export interface Redis extends Server {
  readonly port: number;
  readonly host: string;
  /** Without user and password. */
  readonly url: string;
  readonly dir: string;
  /** The program it runs. */
  readonly program: string;
  readonly caFile: string | null;
}

export async function startRedis(name: RedisName, options: RedisOptions = {}): Promise<Redis> {
  const program = await installed(name);
  const dir = temporaryDir(name);
  const certificate = options.tls ? await certificateIn(dir) : null;
  return await startOnFreePorts(1, async (port = 0) => {
    const listen = certificate ? tlsArgs(certificate, port) : ['--port', String(port)];
    const fast = ['--save', '', '--appendonly', 'no', '--repl-diskless-sync-delay', '0', '--loglevel', 'warning'];
    const args = ['--bind', host, '--dir', dir, ...listen, ...fast, ...(options.args ?? [])];
    const server = await startServer({ program, args }, () => answers(port, certificate));
    const url = `${certificate ? 'rediss' : 'redis'}://${host}:${port}`;
    return {
      ...server,
      ...{ port, host, url, dir, program, caFile: certificate?.caFile ?? null },
      get pid() {
        return server.pid;
      },
      async [Symbol.asyncDispose]() {
        await server[Symbol.asyncDispose]();
        removeDir(dir);
      },
    };
  });
}

function tlsArgs({ certFile, keyFile, caFile }: Certificate, port: number): string[] {
  const files = ['--tls-cert-file', certFile, '--tls-key-file', keyFile, '--tls-ca-cert-file', caFile];
  return ['--port', '0', '--tls-port', String(port), ...files, '--tls-auth-clients', 'no', '--tls-replication', 'yes'];
}

/** Any answer but that it is still loading will do: to ask for more one would need its password. */
function answers(port: number, certificate: Certificate | null): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = certificate
      ? connectTls({ host, port, ca: readFileSync(certificate.caFile), servername: 'localhost' })
      : connect({ host, port });
    const say = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(5_000, () => say(false));
    socket.once('error', () => say(false));
    socket.once('data', (reply) => say(!reply.toString().startsWith('-LOADING')));
    socket.write('PING\r\n');
  });
}

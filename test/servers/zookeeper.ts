import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { installed } from './install.ts';
import { host, removeDir, type Server, startOnFreePorts, startServer, temporaryDir } from './processes.ts';
import { type Certificate, certificateIn } from './tls.ts';

export interface ZookeeperOptions {
  /** Lines of its configuration. */
  readonly conf?: readonly string[];
  /** Of the Java machine: ['-Djute.maxbuffer=4194304']. */
  readonly java?: readonly string[];
  /** The password of the user super. */
  readonly superPassword?: string;
  /** A second port that speaks TLS, and wants the certificate of its clients. */
  readonly tls?: true;
}
export interface Zookeeper extends Server {
  readonly port: number;
  /** 'host:port' */
  readonly hosts: string;
  /** The port with TLS. */
  readonly secureHosts: string;
  /** Null without TLS. */
  readonly certificate: Certificate | null;
  readonly dir: string;
  /** For Java: the server and its own tools. */
  readonly classPath: string;
  /** Where the jars lie. */
  readonly lib: string;
}

/** One thread does what several would hand to one another for each request, at five times the cost. */
const SPARING = ['-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-Dzookeeper.nio.numWorkerThreads=0'];

export async function startZookeeper(options: ZookeeperOptions = {}): Promise<Zookeeper> {
  const lib = await installed('zookeeper-3.9');
  const classPath = join(lib, '*');
  const dir = temporaryDir('zookeeper');
  const certificate = options.tls ? await certificateIn(dir) : null;
  return await startOnFreePorts(2, async (port = 0, securePort = 0) => {
    const conf = join(dir, 'zoo.cfg');
    const lines = ['tickTime=500', `dataDir=${dir}`, `clientPort=${port}`, `clientPortAddress=${host}`];
    const quick = ['admin.enableServer=false', 'maxClientCnxns=0', 'forceSync=no', 'preAllocSize=1024'];
    const secure = certificate ? secureConf(dir, certificate, securePort) : [];
    const more = ['extendedTypesEnabled=true', ...superUser(options.superPassword), ...secure, ...(options.conf ?? [])];
    writeFileSync(conf, `${[...lines, ...quick, ...more].join('\n')}\n`);
    const heap = ['-Xmx256m', ...SPARING, ...(options.java ?? [])];
    const args = [...heap, '-cp', classPath, 'org.apache.zookeeper.server.ZooKeeperServerMain', conf];
    const server = await startServer({ program: 'java', args }, () => answers(port));
    return {
      ...server,
      ...{ port, hosts: `${host}:${port}`, secureHosts: `${host}:${securePort}`, certificate, dir, classPath, lib },
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

function secureConf(dir: string, { certFile, keyFile }: Certificate, port: number): string[] {
  const both = join(dir, 'both.pem');
  writeFileSync(both, readFileSync(keyFile, 'utf8') + readFileSync(certFile, 'utf8'), { mode: 0o600 });
  return [
    `secureClientPort=${port}`,
    `secureClientPortAddress=${host}`,
    'serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory',
    `ssl.keyStore.location=${both}`,
    'ssl.keyStore.type=PEM',
    `ssl.trustStore.location=${certFile}`,
    'ssl.trustStore.type=PEM',
  ];
}

function superUser(password: string | undefined): string[] {
  if (password === undefined) return [];
  const hash = createHash('sha1').update(`super:${password}`).digest('base64');
  return [`DigestAuthenticationProvider.superDigest=super:${hash}`];
}

export interface Ensemble extends AsyncDisposable {
  readonly hosts: readonly string[];
  readonly servers: readonly { readonly server: Server; readonly hosts: string; readonly isLeader: boolean }[];
}

const MEMBERS = [1, 2, 3];

/** Three servers, of which two are enough. */
export async function startEnsemble(): Promise<Ensemble> {
  const lib = await installed('zookeeper-3.9');
  const dir = temporaryDir('ensemble');
  const stack = new AsyncDisposableStack();
  stack.defer(() => removeDir(dir));
  const members: { port: number; server: Server }[] = [];
  await startOnFreePorts(9, async (...ports) => {
    const portsOf = (member: number): number[] => ports.slice((member - 1) * 3, member * 3);
    const peers = MEMBERS.map((member) => {
      const [, quorum, election] = portsOf(member);
      return `server.${member}=${host}:${quorum}:${election}`;
    });
    const started = await Promise.all(
      MEMBERS.map(async (member) => {
        const [port = 0] = portsOf(member);
        const at = join(dir, String(member));
        mkdirSync(at, { recursive: true });
        writeFileSync(join(at, 'myid'), `${member}\n`);
        const conf = join(at, 'zoo.cfg');
        const own = ['tickTime=500', 'initLimit=20', 'syncLimit=10', `dataDir=${at}`, `clientPort=${port}`];
        const quick = [`clientPortAddress=${host}`, 'admin.enableServer=false', 'forceSync=no', 'preAllocSize=1024'];
        writeFileSync(conf, `${[...own, ...quick, ...peers].join('\n')}\n`);
        const main = [
          '-Xmx96m',
          ...SPARING,
          '-cp',
          join(lib, '*'),
          'org.apache.zookeeper.server.quorum.QuorumPeerMain',
          conf,
        ];
        return { port, server: await startServer({ program: 'java', args: main }, () => answers(port)) };
      }),
    );
    members.push(...started);
    return started[0]?.server ?? Promise.reject(new Error('an ensemble without members'));
  });
  for (const { server } of members) stack.use(server);
  const servers = await Promise.all(
    members.map(async ({ server, port }) => ({
      server,
      hosts: `${host}:${port}`,
      isLeader: (await told(port)).includes('Mode: leader'),
    })),
  );
  return {
    hosts: servers.map((each) => each.hosts),
    servers,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** The port is open before the server is. */
async function answers(port: number): Promise<boolean> {
  return (await told(port)).startsWith('Zookeeper version');
}

/** What a server says of itself; nothing when it does not. */
function told(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    let said = '';
    const end = (): void => {
      socket.destroy();
      resolve(said);
    };
    socket.setTimeout(5_000, end);
    socket.once('error', end).once('close', end);
    socket.on('data', (chunk) => (said += chunk));
    socket.write('srvr');
  });
}

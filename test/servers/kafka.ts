import { execFile } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { promisify } from 'node:util';
import { installed, type ServerName } from './install.ts';
import { host, removeDir, type Server, startOnFreePorts, startServer, temporaryDir } from './processes.ts';
import { type Certificate, certificateIn } from './tls.ts';

const exec = promisify(execFile);

export type KafkaName = Extract<ServerName, `kafka-${number}`>;
export const kafkaNames: readonly KafkaName[] = ['kafka-3', 'kafka-4'];

const SCRAM = 'org.apache.kafka.common.security.scram.ScramLoginModule required;';
const JAVA = ['-Xms96m', '-Xmx320m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'];

export interface KafkaOptions {
  /** Further lines of server.properties; later ones win. */
  readonly properties?: readonly string[];
  /** Clients sign in: user 'admin' may do everything, the others what lists allow. By user, the password. */
  readonly users?: Readonly<Record<string, string>>;
  /** Only encrypted connections are let in. */
  readonly tls?: boolean;
}
export interface Kafka extends Server {
  readonly port: number;
  readonly brokers: string;
  readonly dir: string;
  /** Where the jars lie. */
  readonly lib: string;
  readonly caFile: string | null;
}

export async function startKafka(name: KafkaName, options: KafkaOptions = {}): Promise<Kafka> {
  const lib = await installed(name);
  const dir = temporaryDir(name);
  const certificate = options.tls ? await certificateIn(dir) : null;
  return await startOnFreePorts(2, async (port = 0, controller = 0) => {
    const file = join(dir, 'server.properties');
    const lines = properties(dir, { port, controller, options });
    if (certificate) lines.push(...tlsProperties(dir, certificate));
    writeFileSync(file, `${lines.join('\n')}\n`);
    await format(lib, { dir, file }, options.users ?? {});
    const args = [...JAVA, ...(await prepared(lib)).options, '-cp', join(lib, '*'), 'kafka.Kafka', file];
    const server = await startServer({ program: 'java', args }, () => answers(port, certificate));
    return {
      ...server,
      ...{ port, brokers: `${host}:${port}`, dir, lib, caFile: certificate?.caFile ?? null },
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

export interface KafkaCluster extends AsyncDisposable {
  /** All of them, separated by commas. */
  readonly brokers: string;
  /** In the order of their ids, which begin with 1. */
  readonly nodes: readonly Server[];
}

const NODES = [1, 2, 3];

/** Three brokers, of which two are enough: also for what is acknowledged. */
export async function startKafkaCluster(name: KafkaName): Promise<KafkaCluster> {
  const lib = await installed(name);
  const dir = temporaryDir(`${name}-cluster`);
  await using undo = new AsyncDisposableStack();
  undo.defer(() => removeDir(dir));
  const cluster = uuid();
  const { options } = await prepared(lib);
  const started = new Map<number, { server: Server; port: number }>();
  await startOnFreePorts(NODES.length * 2, async (...ports) => {
    const voters = NODES.map((id) => `${id}@${host}:${ports[NODES.length + id - 1]}`).join();
    const servers = await Promise.all(
      NODES.map(async (id) => {
        const [port = 0, controller = 0] = [ports[id - 1], ports[NODES.length + id - 1]];
        const at = join(dir, String(id));
        const file = join(at, 'server.properties');
        mkdirSync(at, { recursive: true });
        const own = [`node.id=${id}`, `controller.quorum.voters=${voters}`, ...REPLICATED];
        writeFileSync(file, `${properties(at, { port, controller, options: { properties: own } }).join('\n')}\n`);
        await format(lib, { dir: at, file, id, cluster }, {});
        const args = [...JAVA, ...options, '-cp', join(lib, '*'), 'kafka.Kafka', file];
        const server = await startServer({ program: 'java', args }, () => answers(port, null));
        started.set(id, { server: undo.use(server), port });
        return server;
      }),
    );
    return servers[0] ?? Promise.reject(new Error('a cluster without brokers'));
  });
  const all = NODES.flatMap((id) => started.get(id) ?? []);
  const owned = undo.move();
  return {
    brokers: all.map(({ port }) => `${host}:${port}`).join(),
    nodes: all.map(({ server }) => server),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

const REPLICATED = [
  'default.replication.factor=3',
  'min.insync.replicas=2',
  'offsets.topic.replication.factor=3',
  'transaction.state.log.replication.factor=3',
  'transaction.state.log.min.isr=2',
];

function properties(
  dir: string,
  { port, controller, options }: { port: number; controller: number; options: KafkaOptions },
): string[] {
  const { users } = options;
  const outside = `${users ? 'SASL_' : ''}${options.tls ? 'SSL' : 'PLAINTEXT'}`;
  const signedIn = Object.entries(users ?? {}).map(([user, password]) => `user_${user}="${password}"`);
  const jaas = `org.apache.kafka.common.security.plain.PlainLoginModule required ${signedIn.join(' ')};`;
  return [
    'process.roles=broker,controller',
    'node.id=1',
    `controller.quorum.voters=1@${host}:${controller}`,
    `listeners=OUTSIDE://${host}:${port},CONTROLLER://${host}:${controller}`,
    `advertised.listeners=OUTSIDE://${host}:${port}`,
    'controller.listener.names=CONTROLLER',
    'inter.broker.listener.name=OUTSIDE',
    `listener.security.protocol.map=CONTROLLER:PLAINTEXT,OUTSIDE:${outside}`,
    `log.dirs=${join(dir, 'data')}`,
    'offsets.topic.num.partitions=1',
    'offsets.topic.replication.factor=1',
    'transaction.state.log.num.partitions=1',
    'transaction.state.log.replication.factor=1',
    'transaction.state.log.min.isr=1',
    'group.initial.rebalance.delay.ms=0',
    'auto.create.topics.enable=false',
    // Tests write old records, and brokers begin to delete after half a minute.
    'log.retention.ms=-1',
    'broker.session.timeout.ms=3000',
    'broker.heartbeat.interval.ms=500',
    'log.cleaner.dedupe.buffer.size=4194304',
    'log.cleaner.backoff.ms=200',
    'message.max.bytes=20971520',
    ...(users
      ? [
          'sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512',
          'sasl.mechanism.inter.broker.protocol=PLAIN',
          `listener.name.outside.plain.sasl.jaas.config=${jaas.replace('required', `required username="admin" password="${users.admin}"`)}`,
          `listener.name.outside.scram-sha-512.sasl.jaas.config=${SCRAM}`,
          'authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer',
          'super.users=User:admin;User:ANONYMOUS',
        ]
      : []),
    ...(options.properties ?? []),
  ];
}

/** Its key and its certificate in one file. */
function tlsProperties(dir: string, { certFile, keyFile, caFile }: Certificate): string[] {
  const store = join(dir, 'server.pem');
  writeFileSync(store, `${readFileSync(keyFile, 'utf8')}${readFileSync(certFile, 'utf8')}`);
  const prefix = 'listener.name.outside.ssl';
  return [
    `${prefix}.keystore.type=PEM`,
    `${prefix}.keystore.location=${store}`,
    `${prefix}.truststore.type=PEM`,
    `${prefix}.truststore.location=${caFile}`,
  ];
}

/** It is done once: the data outlives the server's restarts. Kafka's own program is needed only where it has users. */
async function format(
  lib: string,
  { dir, file, id = 1, cluster = uuid() }: { dir: string; file: string; id?: number; cluster?: string },
  users: Readonly<Record<string, string>>,
): Promise<void> {
  const data = join(dir, 'data');
  if (existsSync(data)) return;
  const scram = Object.entries(users).flatMap(([name, password]) => {
    return ['--add-scram', `SCRAM-SHA-512=[name=${name},password=${password}]`];
  });
  const options = [...JAVA, ...(await prepared(lib)).options];
  if (scram.length > 0) return await runFormat(lib, file, options, scram);
  const lines = ['version=1', `cluster.id=${cluster}`, `node.id=${id}`, `directory.id=${uuid()}`];
  mkdirSync(data);
  writeFileSync(join(data, 'meta.properties'), `${lines.join('\n')}\n`);
  copyFileSync((await prepared(lib)).bootstrap, join(data, BOOTSTRAP));
}

async function runFormat(lib: string, file: string, options: readonly string[], more: readonly string[]) {
  const args = ['kafka.tools.StorageTool', 'format', '-t', uuid(), '-c', file, ...more];
  await exec('java', [...options, '-cp', join(lib, '*'), ...args]);
}

/** As Kafka writes them: not with a dash at the front. */
function uuid(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(16)))
    .toString('base64url')
    .replace(/^-/, 'A');
}

/** The features that a new cluster begins with: the same for all of one release. */
const BOOTSTRAP = 'bootstrap.checkpoint';

/**
 * Most of what a broker does until it answers is to load classes: an archive of them, made once per machine by a broker
 * that is started for nothing else, saves three of five seconds. Java leaves one alone that is not of its own making.
 */
async function prepared(lib: string): Promise<{ options: readonly string[]; bootstrap: string }> {
  const archive = join(dirname(lib), 'broker.jsa');
  const bootstrap = join(dirname(lib), BOOTSTRAP);
  if (!existsSync(archive) || !existsSync(bootstrap)) await prepare(lib, archive, bootstrap);
  return { options: [`-XX:SharedArchiveFile=${archive}`, '-Xlog:disable', '-Xlog:all=error:stderr'], bootstrap };
}

async function prepare(lib: string, archive: string, bootstrap: string): Promise<void> {
  const dir = temporaryDir('kafka-classes');
  await startOnFreePorts(2, async (port = 0, controller = 0) => {
    const file = join(dir, 'server.properties');
    writeFileSync(file, `${properties(dir, { port, controller, options: {} }).join('\n')}\n`);
    if (!existsSync(join(dir, 'data'))) await runFormat(lib, file, JAVA, []);
    const making = `-XX:ArchiveClassesAtExit=${archive}.${process.pid}`;
    const args = [...JAVA, making, '-cp', join(lib, '*'), 'kafka.Kafka', file];
    const server = await startServer({ program: 'java', args }, () => answers(port, null));
    await server.stop();
    return server;
  });
  copyFileSync(join(dir, 'data', BOOTSTRAP), `${bootstrap}.${process.pid}`);
  removeDir(dir);
  // Several processes may do so at once.
  renameSync(`${bootstrap}.${process.pid}`, bootstrap);
  renameSync(`${archive}.${process.pid}`, archive);
}

/** Kafka's own command line tools, by version where they moved. */
const TOOLS = {
  topics: () => 'org.apache.kafka.tools.TopicCommand',
  groups: () => 'org.apache.kafka.tools.consumer.group.ConsumerGroupCommand',
  consumer: () => 'org.apache.kafka.tools.consumer.ConsoleConsumer',
  'producer-performance': () => 'org.apache.kafka.tools.ProducerPerformance',
  'dump-log': (is4: boolean) => (is4 ? 'org.apache.kafka.tools.DumpLogSegments' : 'kafka.tools.DumpLogSegments'),
  producer: (is4: boolean) => (is4 ? 'org.apache.kafka.tools.ConsoleProducer' : 'kafka.tools.ConsoleProducer'),
} as const;

/** As Kafka's own scripts start a tool. */
export function toolCommand(lib: string, tool: keyof typeof TOOLS, args: readonly string[]): string[] {
  const jvm = ['-server', '-XX:+UseG1GC', '-XX:MaxGCPauseMillis=20', '-XX:InitiatingHeapOccupancyPercent=35'];
  const options = ['-Xmx512M', ...jvm, '-XX:MaxInlineLevel=15', '-Djava.awt.headless=true'];
  return ['java', ...options, '-cp', join(lib, '*'), TOOLS[tool](lib.includes('kafka-4')), ...args];
}

/** What the tool prints. */
export async function runTool(lib: string, tool: keyof typeof TOOLS, args: readonly string[]): Promise<string> {
  const main = TOOLS[tool](lib.includes('kafka-4'));
  const options = [...JAVA, ...(await prepared(lib)).options, '-cp', join(lib, '*'), main];
  const { stdout } = await exec('java', [...options, ...args], { maxBuffer: 256 * 1024 * 1024 });
  return stdout;
}

/** It takes connections before it serves: any answer to a question about its versions will do. */
function answers(port: number, certificate: Certificate | null): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = certificate
      ? connectTls({ host, port, ca: readFileSync(certificate.caFile), servername: 'localhost' })
      : connect({ host, port });
    const say = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(2_000, () => say(false));
    socket.once('error', () => say(false));
    socket.once('data', () => say(true));
    // ApiVersions 0, correlation 1, from nobody
    socket.once(certificate ? 'secureConnect' : 'connect', () =>
      socket.write(Buffer.from('0000000a00120000000000010000', 'hex')),
    );
  });
}

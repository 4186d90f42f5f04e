import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { installed, type ServerName } from './install.ts';
import { host, removeDir, type Server, startOnFreePorts, startServer, temporaryDir } from './processes.ts';

const exec = promisify(execFile);

export type KafkaName = Extract<ServerName, `kafka-${number}`>;
export const kafkaNames: readonly KafkaName[] = ['kafka-3', 'kafka-4'];

const JAVA = ['-Xms96m', '-Xmx320m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'];

export interface KafkaOptions {
  /** Further lines of server.properties; later ones win. */
  readonly properties?: readonly string[];
  /** Clients sign in: user 'admin' may do everything, the others what lists allow. By user, the password. */
  readonly users?: Readonly<Record<string, string>>;
}
export interface Kafka extends Server {
  readonly port: number;
  readonly brokers: string;
  readonly dir: string;
  /** Where the jars lie. */
  readonly lib: string;
}

export async function startKafka(name: KafkaName, options: KafkaOptions = {}): Promise<Kafka> {
  const lib = await installed(name);
  const dir = temporaryDir(name);
  return await startOnFreePorts(2, async (port = 0, controller = 0) => {
    const file = join(dir, 'server.properties');
    writeFileSync(file, `${properties(dir, { port, controller, options }).join('\n')}\n`);
    await format(lib, file);
    const args = [...JAVA, '-cp', join(lib, '*'), 'kafka.Kafka', file];
    const server = await startServer({ program: 'java', args }, () => answers(port));
    return {
      ...server,
      ...{ port, brokers: `${host}:${port}`, dir, lib },
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

function properties(
  dir: string,
  { port, controller, options }: { port: number; controller: number; options: KafkaOptions },
): string[] {
  const { users } = options;
  const outside = users ? 'SASL_PLAINTEXT' : 'PLAINTEXT';
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
    'broker.session.timeout.ms=3000',
    'broker.heartbeat.interval.ms=500',
    'log.cleaner.dedupe.buffer.size=4194304',
    'log.cleaner.backoff.ms=200',
    'message.max.bytes=20971520',
    ...(users
      ? [
          'sasl.enabled.mechanisms=PLAIN',
          'sasl.mechanism.inter.broker.protocol=PLAIN',
          `listener.name.outside.plain.sasl.jaas.config=${jaas.replace('required', `required username="admin" password="${users.admin}"`)}`,
          'authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer',
          'super.users=User:admin;User:ANONYMOUS',
        ]
      : []),
    ...(options.properties ?? []),
  ];
}

/** It is done once: the data outlives the server's restarts. */
async function format(lib: string, file: string): Promise<void> {
  const id = Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString('base64url');
  const args = ['kafka.tools.StorageTool', 'format', '--ignore-formatted', '-t', id.replace(/^-/, 'A'), '-c', file];
  await exec('java', ['-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-cp', join(lib, '*'), ...args]);
}

/** Kafka's own command line tools, by version where they moved. */
const TOOLS = {
  topics: () => 'org.apache.kafka.tools.TopicCommand',
  groups: () => 'org.apache.kafka.tools.consumer.group.ConsumerGroupCommand',
  consumer: () => 'org.apache.kafka.tools.consumer.ConsoleConsumer',
  'dump-log': (is4: boolean) => (is4 ? 'org.apache.kafka.tools.DumpLogSegments' : 'kafka.tools.DumpLogSegments'),
  producer: (is4: boolean) => (is4 ? 'org.apache.kafka.tools.ConsoleProducer' : 'kafka.tools.ConsoleProducer'),
} as const;

/** What the tool prints. */
export async function runTool(lib: string, tool: keyof typeof TOOLS, args: readonly string[]): Promise<string> {
  const main = TOOLS[tool](lib.includes('kafka-4'));
  const options = ['-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-cp', join(lib, '*'), main];
  const { stdout } = await exec('java', [...options, ...args], { maxBuffer: 256 * 1024 * 1024 });
  return stdout;
}

/** It takes connections before it serves: any answer to a question about its versions will do. */
function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const say = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(2_000, () => say(false));
    socket.once('error', () => say(false));
    socket.once('data', () => say(true));
    // ApiVersions 0, correlation 1, from nobody
    socket.once('connect', () => socket.write(Buffer.from('0000000a00120000000000010000', 'hex')));
  });
}

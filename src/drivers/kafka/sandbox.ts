// A throw-away broker that a point is restored into.

import { randomUUID } from 'node:crypto';
import { access, readdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import { delimiter, dirname, join } from 'node:path';
import { z } from 'zod';
import type { SandboxNeed, ServerSpec } from '../../core/driver.ts';
import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';

const HOST = '127.0.0.1';
const USER = 'lifeboat';
const PLAIN = 'org.apache.kafka.common.security.plain.PlainLoginModule';
const SCRIPTS = ['kafka-server-start.sh', 'kafka-server-start'] as const;
const JAVA = ['-Xms96m', '-Xmx512m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'];
const settingsShape = z.looseObject({ server: z.string().optional() });

export async function serverSpec(ctx: Context, need: SandboxNeed): Promise<ServerSpec> {
  const { dir, port, password } = need;
  const jars = await jarsFor(ctx, need);
  const file = join(dir, 'server.properties');
  const content = `${properties({ dir, port, password, controller: await freePort() }).join('\n')}\n`;
  const id = Buffer.from(randomUUID().replaceAll('-', ''), 'hex').toString('base64url').replace(/^-/, 'A');
  const java = { program: 'java', cwd: dir };
  const format = ['kafka.tools.StorageTool', 'format', '-t', id, '-c', file];
  return {
    files: [{ path: file, content, mode: 0o600 }],
    prepare: [{ ...java, name: 'kafka-storage', args: [...JAVA, '-cp', jars, ...format] }],
    run: { ...java, name: 'kafka', args: [...JAVA, '-cp', jars, 'kafka.Kafka', file] },
    settings: { brokers: `${HOST}:${port}`, sasl: { mechanism: 'PLAIN', username: USER, password } },
    unprivileged: true,
    stopSignal: 'SIGTERM',
  };
}

/** Only who has the password gets in, also to the controller; nothing is deleted by age. */
function properties({
  dir,
  port,
  controller,
  password,
}: {
  dir: string;
  port: number;
  controller: number;
  password: string;
}): string[] {
  const login = `${PLAIN} required username="${USER}" password="${password}" user_${USER}="${password}";`;
  return [
    'process.roles=broker,controller',
    'node.id=1',
    `controller.quorum.voters=1@${HOST}:${controller}`,
    `listeners=BROKER://${HOST}:${port},CONTROLLER://${HOST}:${controller}`,
    `advertised.listeners=BROKER://${HOST}:${port}`,
    'controller.listener.names=CONTROLLER',
    'inter.broker.listener.name=BROKER',
    'listener.security.protocol.map=CONTROLLER:SASL_PLAINTEXT,BROKER:SASL_PLAINTEXT',
    'sasl.enabled.mechanisms=PLAIN',
    'sasl.mechanism.inter.broker.protocol=PLAIN',
    'sasl.mechanism.controller.protocol=PLAIN',
    `listener.name.broker.plain.sasl.jaas.config=${login}`,
    `listener.name.controller.plain.sasl.jaas.config=${login}`,
    'authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer',
    `super.users=User:${USER}`,
    `log.dirs=${join(dir, 'data')}`,
    'auto.create.topics.enable=false',
    'log.retention.ms=-1',
    'log.retention.bytes=-1',
    'message.max.bytes=1073741824',
    'socket.request.max.bytes=1073741824',
    'offset.metadata.max.bytes=1048576',
    'offsets.retention.minutes=2147483647',
    'offsets.topic.num.partitions=1',
    'offsets.topic.replication.factor=1',
    'transaction.state.log.num.partitions=1',
    'transaction.state.log.replication.factor=1',
    'transaction.state.log.min.isr=1',
    'group.initial.rebalance.delay.ms=0',
    'log.cleaner.enable=true',
    'log.cleaner.dedupe.buffer.size=4194304',
  ];
}

interface Found {
  readonly jars: string;
  readonly version: string;
}

/** Of the release that was captured if it is there, else a newer one, which takes what an older one had. */
async function jarsFor(ctx: Context, { version, settings }: SandboxNeed): Promise<string> {
  const { server } = settingsShape.catch({}).parse(settings);
  const home = ctx.env.KAFKA_HOME;
  const inPath = (ctx.env.PATH ?? '').split(delimiter).filter((dir) => dir !== '');
  const places = [...(server ? [server] : []), ...(home ? [home] : []), ...(await homesIn(inPath))];
  const found = (await Promise.all(places.map(kafkaIn))).flat();
  const same = found.find((each) => each.version.startsWith(`${version}.`));
  const newer = found.filter((each) => compareVersions(each.version, version) >= 0);
  const best = same ?? newer.sort((a, b) => compareVersions(a.version, b.version))[0];
  if (best) return best.jars;
  throw new Failure('program-missing', `no Kafka ${version} or newer is installed on this machine`, {
    hint: 'unpack one and name its directory: server in the settings, or KAFKA_HOME; java must be in PATH',
  });
}

async function homesIn(path: readonly string[]): Promise<string[]> {
  const homes: string[] = [];
  for (const dir of path) {
    for (const script of SCRIPTS) if (await isThere(join(dir, script))) homes.push(dirname(dir));
  }
  return homes;
}

/** Jars lie in libs of what Kafka's makers pack, and where Maven was told to put them. */
async function kafkaIn(home: string): Promise<Found[]> {
  for (const dir of [join(home, 'libs'), join(home, 'lib'), home]) {
    const names = (await isThere(dir)) ? await readdir(dir) : [];
    const version = names.map((name) => /^kafka_2\.\d+-(\d+\.\d+\.\d+).*\.jar$/.exec(name)?.[1]).find((each) => each);
    if (version) return [{ jars: join(dir, '*'), version }];
  }
  return [];
}

async function isThere(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false, // not there, or not for us
  );
}

function compareVersions(a: string, b: string): number {
  const [x, y] = [a, b].map((text) => text.split('.').map(Number));
  return (x?.[0] ?? 0) - (y?.[0] ?? 0) || (x?.[1] ?? 0) - (y?.[1] ?? 0);
}

/** The controller needs one of its own. */
async function freePort(): Promise<number> {
  await using server = createServer();
  await new Promise<void>((done, failed) => server.once('error', failed).listen(0, HOST, done));
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

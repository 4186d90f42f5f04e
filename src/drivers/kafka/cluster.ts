// The brokers of a cluster: who leads what, one connection to each for what is asked, and what is asked again when a
// broker falls silent or has handed over.

import { isIP } from 'node:net';
import { type Broker, Connection, findCoordinatorV4, metadataV12 } from '@platformatic/kafka';
import { interruption } from '../../core/context.ts';
import { Failure, messageOf } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { type Budget, budgetOf } from './budget.ts';
import { codeName, isLockedOut, isRefusal, isSilence, isTemporary, mayNot, responseOf } from './refusals.ts';
import type { Settings } from './settings.ts';

const CLIENT_ID = 'lifeboat';
const CONNECT_MS_MAX = 10_000;
const PAUSE_MS = 50;
const PAUSE_MS_MAX = 1_000;
const COORDINATOR_OF_GROUP = 0;
const HELD_BYTES_MAX = 32 * 1024 * 1024;

export interface PartitionName {
  readonly topic: string;
  readonly partition: number;
}
export interface Partition {
  readonly partition: number;
  readonly leader: number;
  readonly leaderEpoch: number;
  readonly replicas: number;
}
export interface Topic {
  readonly name: string;
  readonly id: string;
  readonly isInternal: boolean;
  readonly partitions: readonly Partition[];
}
export interface Layout {
  readonly clusterId: string;
  readonly controller: number;
  readonly brokers: ReadonlyMap<number, Broker>;
  readonly topics: ReadonlyMap<string, Topic>;
}

export interface Cluster extends AsyncDisposable {
  /** For messages. */
  readonly where: string;
  readonly username: string | null;
  readonly timeoutMs: number;
  /** Of records that were read and are not yet written. */
  readonly memory: Budget;
  /** As last asked. */
  layout(): Layout;
  /** Asks for all topics that we may see. */
  refresh(ctx: Context): Promise<Layout>;
  /** `call` may be made several times, until no answer has come for as long as the settings allow. */
  onAny<R>(ctx: Context, what: string, call: (connection: Connection) => Promise<R>): Promise<R>;
  onController<R>(ctx: Context, what: string, call: (connection: Connection) => Promise<R>): Promise<R>;
  onLeader<R>(
    ctx: Context,
    at: PartitionName,
    what: string,
    call: (connection: Connection, partition: Partition) => Promise<R>,
  ): Promise<R>;
  onBroker<R>(ctx: Context, node: number, what: string, call: (connection: Connection) => Promise<R>): Promise<R>;
  onCoordinator<R>(ctx: Context, group: string, what: string, call: (connection: Connection) => Promise<R>): Promise<R>;
}

/** Nothing is asked twice here: a cluster that does not answer at first is 'unreachable' at once. */
export async function connect(ctx: Context, settings: Settings): Promise<Cluster> {
  const where = `kafka at ${settings.brokers.map(({ host, port }) => `${host}:${port}`).join(', ')}`;
  const links = connections(settings, where);
  let known: Layout | null = null;

  async function refresh(connection: Connection): Promise<Layout> {
    known = await layoutFrom(connection, where);
    return known;
  }
  function layout(): Layout {
    if (!known) throw new Failure('unreachable', `${where} has not told its brokers yet`);
    return known;
  }
  async function toNode(node: number): Promise<Connection> {
    const broker = layout().brokers.get(node);
    if (!broker) throw new Failure('unreachable', `${where}: broker ${node} is not there`);
    return await links.to(broker);
  }
  async function toAny(): Promise<Connection> {
    return await links.first([...settings.brokers, ...(known?.brokers.values() ?? [])]);
  }
  async function persist<R>(ctx2: Context, what: string, call: () => Promise<R>): Promise<R> {
    const begun = ctx2.monotonicMs();
    let silences = 0;
    for (let pause = PAUSE_MS; ; pause = Math.min(pause * 2, PAUSE_MS_MAX)) {
      if (ctx2.signal.aborted) throw interruption(ctx2.signal);
      try {
        return await call();
      } catch (error) {
        if (!isTemporary(error)) throw failureOf(error, where, settings.username, what);
        // Its connection is gone then; on another one there may be an answer.
        if (isSilence(error)) silences += 1;
        const isOver = ctx2.monotonicMs() - begun > settings.timeoutMs && silences !== 1;
        if (isOver) throw gaveUp(error, where, what);
      }
      await ctx2.sleep(pause);
      await toAny()
        .then(refresh)
        .catch(() => undefined); // the next call says it
    }
  }
  const self: Cluster = {
    where,
    username: settings.username,
    timeoutMs: settings.timeoutMs,
    memory: budgetOf(HELD_BYTES_MAX),
    layout,
    refresh: (c) => persist(c, 'its topics', async () => await refresh(await toAny())),
    onAny: (c, what, call) => persist(c, what, async () => await call(await toAny())),
    onController: (c, what, call) => persist(c, what, async () => await call(await toNode(layout().controller))),
    onBroker: (c, node, what, call) => persist(c, what, async () => await call(await toNode(node))),
    onLeader: (c, at, what, call) =>
      persist(c, what, async () => {
        const partition = layout().topics.get(at.topic)?.partitions[at.partition];
        if (!partition) throw new Failure('missing', `${where} has no partition ${at.partition} of topic ${at.topic}`);
        if (partition.leader < 0) throw new Failure('unreachable', `${where}: ${what} has no leader`);
        return await call(await toNode(partition.leader), partition);
      }),
    onCoordinator: (c, group, what, call) =>
      persist(c, what, async () => await call(await links.to(await coordinatorOf(await toAny(), group)))),
    [Symbol.asyncDispose]: () => links.close(),
  };
  try {
    if (ctx.signal.aborted) throw interruption(ctx.signal);
    await refresh(await toAny());
    return self;
  } catch (error) {
    await links.close();
    throw failureOf(error, where, settings.username, 'its topics');
  }
}

interface Connections {
  to(broker: Broker): Promise<Connection>;
  first(brokers: readonly Broker[]): Promise<Connection>;
  close(): Promise<void>;
}

function connections(settings: Settings, where: string): Connections {
  const open = new Map<string, Promise<Connection>>();
  let isClosed = false;
  async function begin({ host, port }: Broker): Promise<Connection> {
    const connection = new Connection(CLIENT_ID, {
      ...settings.connection,
      // An address is no name to ask for.
      tlsServerName: settings.serverName ?? isIP(host) === 0,
      connectTimeout: Math.min(settings.timeoutMs, CONNECT_MS_MAX),
      requestTimeout: settings.timeoutMs,
    });
    connection.on('error', () => undefined); // told to whoever asks
    await connection.connect(host, port);
    return connection;
  }
  async function to(broker: Broker): Promise<Connection> {
    if (isClosed) throw new Failure('interrupted', `${where}: it was left meanwhile`);
    const key = `${broker.host}:${broker.port}`;
    const held = open.get(key);
    if (held) {
      const there = await held.catch(() => undefined);
      if (there?.isConnected()) return there;
      if (open.get(key) !== held) return await to(broker); // somebody else was faster
    }
    const beginning = begin(broker);
    open.set(key, beginning);
    return await beginning;
  }
  return {
    to,
    async first(brokers) {
      let failed: unknown = new Failure('unreachable', `${where} has no brokers`);
      for (const broker of brokers) {
        try {
          return await to(broker);
        } catch (error) {
          if (isRefusal(error)) throw error;
          failed = error;
        }
      }
      throw failed;
    },
    async close() {
      isClosed = true;
      const all = await Promise.allSettled(open.values());
      await Promise.allSettled(all.map((each) => (each.status === 'fulfilled' ? each.value.close() : undefined)));
    },
  };
}

async function layoutFrom(connection: Connection, where: string): Promise<Layout> {
  const said = await responseOf(metadataV12.api.async(connection, null, false, false));
  const topics = said.topics.flatMap(({ name, topicId, isInternal, partitions, errorCode }): [string, Topic][] => {
    if (typeof name !== 'string' || errorCode !== 0) return []; // being made or removed at this moment
    const sorted = partitions.toSorted((a, b) => a.partitionIndex - b.partitionIndex);
    const all = sorted.map(({ partitionIndex, leaderId, leaderEpoch, replicaNodes }) => {
      return { partition: partitionIndex, leader: leaderId, leaderEpoch, replicas: replicaNodes.length };
    });
    return [[name, { name, id: topicId, isInternal, partitions: all }]];
  });
  if (typeof said.clusterId !== 'string') throw new Failure('unreachable', `${where} does not say which cluster it is`);
  return {
    clusterId: said.clusterId,
    controller: said.controllerId,
    brokers: new Map(said.brokers.map(({ nodeId, host, port }) => [nodeId, { host, port }])),
    topics: new Map(topics),
  };
}

async function coordinatorOf(connection: Connection, group: string): Promise<Broker> {
  const said = await findCoordinatorV4.api.async(connection, COORDINATOR_OF_GROUP, [group]);
  const [found] = said.coordinators;
  if (!found) throw new Failure('unreachable', `no coordinator of group ${group}`);
  return { host: found.host, port: found.port };
}

function gaveUp(error: unknown, where: string, what: string): Failure {
  const code = codeName(error);
  return new Failure('unreachable', `${where}: ${what}: ${code ?? messageOf(error)}`, {
    cause: error,
    hint: 'see that it runs and that all of its brokers can be reached from here',
  });
}

/** What a library or a broker says, as a failure of ours. */
function failureOf(error: unknown, where: string, username: string | null, what: string): unknown {
  if (error instanceof Failure) return error;
  if (isLockedOut(error)) {
    return new Failure('denied', `${where} does not let ${username ?? 'us'} in`, {
      cause: error,
      hint: 'check the user name, the password and the mechanism: sasl',
    });
  }
  const code = codeName(error);
  if (code?.endsWith('AUTHORIZATION_FAILED')) return mayNot({ where, username }, what, error);
  if (code !== null) return new Failure('query-failed', `${where}: ${what}: ${code}`, { cause: error });
  return gaveUp(error, where, what);
}

// A throw-away server that a point is restored into.

import { createHash } from 'node:crypto';
import { access, constants, readdir } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { z } from 'zod';
import type { SandboxNeed, ServerSpec } from '../../core/driver.ts';
import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';

const MAIN = 'org.apache.zookeeper.server.ZooKeeperServerMain';
const USER = 'super';
/** Room for the largest znode of any server. */
const REQUEST_BYTES_MAX = 64 * 1024 * 1024;
/** It has one client: threads that hand each request to one another cost it five times as much. */
const SPARING = ['-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-Dzookeeper.nio.numWorkerThreads=0'];

export async function serverSpec(ctx: Context, { dir, port, password, settings }: SandboxNeed): Promise<ServerSpec> {
  const { home } = z.looseObject({ home: z.string().optional() }).parse(settings ?? {});
  const lib = await libOf(ctx, home);
  const java = await inPath(ctx, 'java');
  if (java === null) {
    throw new Failure('program-missing', 'there is no java in PATH for a sandbox of zookeeper', {
      hint: 'install a Java runtime (11 or newer) on this machine',
    });
  }
  const hash = createHash('sha1').update(`${USER}:${password}`).digest('base64');
  const lines = [
    'tickTime=500',
    `dataDir=${join(dir, 'data')}`,
    `clientPort=${port}`,
    'clientPortAddress=127.0.0.1',
    'admin.enableServer=false',
    'maxClientCnxns=0',
    'forceSync=no', // nobody needs it after a crash
    'preAllocSize=1024',
    `DigestAuthenticationProvider.superDigest=${USER}:${hash}`, // whatever ACLs say
  ];
  const file = join(dir, 'zoo.cfg');
  return {
    files: [{ path: file, content: `${lines.join('\n')}\n`, mode: 0o600 }],
    prepare: [],
    run: {
      program: java,
      name: 'zookeeper',
      args: [`-Djute.maxbuffer=${REQUEST_BYTES_MAX}`, ...SPARING, '-cp', join(lib, '*'), MAIN, file],
      cwd: dir,
    },
    settings: { hosts: `127.0.0.1:${port}`, username: USER, password },
    unprivileged: true,
    stopSignal: 'SIGTERM',
  };
}

/** Where the jars lie: `home` or `home/lib`, or beside zkServer.sh in PATH. */
async function libOf(ctx: Context, home: string | undefined): Promise<string> {
  const script = await inPath(ctx, 'zkServer.sh');
  const homes = [home, ctx.env.ZOOKEEPER_HOME, script === null ? undefined : dirname(dirname(script))];
  for (const each of homes) {
    if (each === undefined || each === '') continue;
    for (const lib of [join(each, 'lib'), each]) {
      const names = await readdir(lib).catch(() => []); // not there, or not for us
      if (names.some((name) => /^zookeeper-\d[\d.]*\.jar$/.test(name))) return lib;
    }
  }
  throw new Failure('program-missing', 'there is no ZooKeeper on this machine for a sandbox', {
    hint: 'unpack Apache ZooKeeper and name the folder: home of the component, or ZOOKEEPER_HOME',
  });
}

async function inPath(ctx: Context, program: string): Promise<string | null> {
  for (const dir of (ctx.env.PATH ?? '').split(delimiter)) {
    if (dir === '') continue;
    const path = join(dir, program);
    const runs = await access(path, constants.X_OK).then(
      () => true,
      () => false, // not there, or not for us
    );
    if (runs) return path;
  }
  return null;
}

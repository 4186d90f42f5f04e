// Starting, awaiting and ending the servers of tests: by their own process id, on free ports of 127.0.0.1, in
// directories that are gone afterwards, whatever happens to the test.

import { type ChildProcess, spawn } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, readFileSync, rmSync, statfsSync } from 'node:fs';
import { createServer, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const READY_MS = 180_000;
/** Java that writes an archive of its classes as it ends takes a while on a busy machine. */
const END_MS = 120_000;
const POLL_MS = 15;
const ATTEMPTS = 5;
const MEMORY_BYTES_MIN = 4 * 2 ** 30;

export const host = '127.0.0.1';

export interface Launch {
  readonly program: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly user?: { uid: number; gid: number } | null;
  readonly stopSignal?: NodeJS.Signals;
  /** Ends it at once, when nobody wants its data any more. SIGKILL unless it has to clean up. */
  readonly disposeSignal?: NodeJS.Signals;
}

export interface Server extends AsyncDisposable {
  readonly pid: number;
  /** What it has said so far. */
  output(): string;
  /** Ends it politely; `start` brings it back on the same port with the same data. */
  stop(): Promise<void>;
  /** SIGKILL to it and all its children; resolves when they are gone. */
  kill(): Promise<void>;
  start(): Promise<void>;
}

/** Polls until `probe` says true. An exception of the probe ends the waiting. */
export async function until(what: string, ms: number, probe: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + ms;
  while (!(await probe())) {
    if (performance.now() > deadline) throw new Error(`${what}: not within ${ms / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** Starts a server on ports that were free a moment ago, and tries others when somebody was faster. */
export async function startOnFreePorts<T extends Server>(
  ports: number,
  begin: (...ports: number[]) => Promise<T>,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await begin(...(await freePorts(ports)));
    } catch (error) {
      if (attempt === ATTEMPTS || !/in use|bind/i.test(String(error))) throw error;
    }
  }
}

/** Below the range that the kernel takes outgoing ports from, so that no client sits on one of them. */
async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) {
    const port = 15_000 + Math.floor(Math.random() * 17_000);
    if (await isFree(port)) ports.add(port);
  }
  return [...ports];
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, host, () => server.close(() => resolve(true)));
  });
}

/** A directory that is removed when this process ends at the latest. */
export function temporaryDir(
  name: string,
  user?: { uid: number; gid: number } | null,
  parent: string = roomiest(),
): string {
  const dir = mkdtempSync(join(parent, `lifeboat-${name}-`));
  if (user) chownSync(dir, user.uid, user.gid);
  dirs.add(dir);
  return dir;
}
/** In memory where there is plenty of it: the thousands of small files of a database come and go much faster there. */
function roomiest(): string {
  const memory = '/dev/shm';
  if (!existsSync(memory)) return tmpdir();
  const { bavail, bsize } = statfsSync(memory);
  return bavail * bsize > MEMORY_BYTES_MIN ? memory : tmpdir();
}

export function removeDir(dir: string): void {
  rmSync(dir, { recursive: true, force: true, maxRetries: 3 });
  dirs.delete(dir);
}

const dirs = new Set<string>();
const children = new Map<ChildProcess, Launch>();
process.once('exit', () => {
  for (const [child, { disposeSignal }] of children) {
    if (disposeSignal) child.kill(disposeSignal);
    else killTree(child.pid);
  }
  for (const dir of dirs) rmSync(dir, { recursive: true, force: true, maxRetries: 3 });
});

/** Starts the server and resolves when `ready` says so; fails with its last words when it ends before. */
export async function startServer(launch: Launch, ready: () => Promise<boolean>): Promise<Server> {
  let current = await begin(launch, ready);
  const stop = (): Promise<void> => current.end(launch.stopSignal ?? 'SIGTERM');
  return {
    get pid() {
      return current.child.pid ?? -1;
    },
    output: () => current.output(),
    stop,
    kill: () => current.end('SIGKILL'),
    async start() {
      current = await begin(launch, ready);
    },
    [Symbol.asyncDispose]: () => current.end(launch.disposeSignal ?? 'SIGKILL'),
  };
}

interface Begun {
  readonly child: ChildProcess;
  output(): string;
  end(signal: NodeJS.Signals): Promise<void>;
}

async function begin(launch: Launch, ready: () => Promise<boolean>): Promise<Begun> {
  const [program, args] = withOrphanSignal(launch);
  const child = spawn(program, args, {
    env: { ...process.env, ...launch.env },
    ...(launch.user ?? {}),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.set(child, launch);
  let output = '';
  const hear = (text: Buffer): void => void (output = (output + text).slice(-16_384));
  child.stdout?.on('data', hear);
  child.stderr?.on('data', hear);
  const ended = new Promise<void>((resolve) => {
    child.once('error', (error) => resolve(hear(Buffer.from(String(error)))));
    child.once('close', () => resolve());
  }).finally(() => children.delete(child));
  let over = false;
  void ended.then(() => (over = true));

  const begun: Begun = {
    child,
    output: () => output,
    async end(signal) {
      if (over) return;
      if (signal === 'SIGKILL') killTree(child.pid);
      else child.kill(signal);
      child.ref(); // who waits for its end lives until then
      const hard = setTimeout(() => killTree(child.pid), END_MS);
      await ended;
      clearTimeout(hard);
    },
  };
  try {
    await until(`${launch.program} answers`, READY_MS, async () => {
      if (over) throw new Error(`${launch.program} ended: ${output}`);
      return await ready();
    });
  } catch (error) {
    await begun.end('SIGKILL');
    throw error;
  }
  // From here on it must not keep the test's process alive.
  child.unref();
  for (const stream of [child.stdout, child.stderr]) if (stream instanceof Socket) stream.unref();
  return begun;
}

/** A test that is killed runs no clean-up; the kernel then ends its servers. */
function withOrphanSignal(launch: Launch): [string, readonly string[]] {
  if (!existsSync('/usr/bin/setpriv')) return [launch.program, launch.args];
  return [
    '/usr/bin/setpriv',
    ['--pdeathsig', launch.disposeSignal?.slice(3) ?? 'KILL', launch.program, ...launch.args],
  ];
}

/** PostgreSQL's children lead sessions of their own, so a group does not hold them together. */
function killTree(pid: number | undefined): void {
  if (pid === undefined) return;
  const tree = [pid];
  for (const each of tree) tree.push(...childrenOf(each));
  for (const each of tree) {
    try {
      process.kill(each, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}

function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    return text === '' ? [] : text.split(' ').map(Number);
  } catch {
    return []; // gone, or no /proc
  }
}

// Files: Lifeboat beside stock restic.

import { execFileSync } from 'node:child_process';
import { linkSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { writeChanged, writeSmallFiles, writeSqlText } from './data.ts';
import { bytesBelow, lifeboatWith, resticStore } from './lifeboat.ts';
import { compared, type Figures, interleaved, type Limits, type Measured, measure, type Row } from './measure.ts';

export interface ResticSizes {
  readonly bytes: number;
  readonly files: number;
  readonly rounds: number;
  /** The program to compare with. */
  readonly restic: string;
}

type Verb = 'backup' | 'restore' | 'verify';
type Data = 'stream' | 'small';
interface Work {
  readonly name: string;
  readonly verb: Verb;
  readonly on: Data;
  /** What lies in the stream's directory from now on. */
  readonly now?: 'first' | 'second';
  readonly limits: Limits;
  /** What restic is told besides. */
  readonly options?: readonly string[];
}

/** A file that was changed less than two seconds before it is read is read again by the next backup. */
const SETTLED_MS = 3000;
/** At equal size of the repository. */
const STORED_MAX = 1.03;
const WORKS: readonly Work[] = [
  {
    name: 'first backup, one large file',
    verb: 'backup',
    on: 'stream',
    now: 'first',
    limits: { wall: 0.6, cpu: 0.6, stored: STORED_MAX },
  },
  { name: 'again, 1 % of it changed', verb: 'backup', on: 'stream', now: 'second', limits: { wall: 0.8 } },
  { name: 'again, unchanged', verb: 'backup', on: 'stream', limits: { wall: 1.2 } },
  { name: 'restore', verb: 'restore', on: 'stream', limits: { wall: 0.9 } },
  { name: 'restore, restic with --verify', verb: 'restore', on: 'stream', limits: {}, options: ['--verify'] },
  { name: 'verify, all data read', verb: 'verify', on: 'stream', limits: { wall: 0.9 } },
  {
    name: 'first backup, small files',
    verb: 'backup',
    on: 'small',
    limits: { wall: 1, cpu: 1, stored: STORED_MAX },
  },
  { name: 'small files, unchanged', verb: 'backup', on: 'small', limits: { wall: 1.2 } },
  { name: 'restore of small files', verb: 'restore', on: 'small', limits: { wall: 0.9 } },
  {
    name: 'restore of small files, restic with --verify',
    verb: 'restore',
    on: 'small',
    limits: {},
    options: ['--verify'],
  },
  { name: 'verify of small files, all data read', verb: 'verify', on: 'small', limits: { wall: 0.9 } },
];

export async function compareWithRestic(
  dir: string,
  sizes: ResticSizes,
  say: (line: string) => void,
): Promise<readonly Row[]> {
  const data = { stream: join(dir, 'stream'), small: join(dir, 'small') };
  const dumps = { first: join(dir, 'first.sql'), second: join(dir, 'second.sql') };
  writeSqlText(dumps.first, sizes.bytes, 'bench');
  writeChanged(dumps.first, dumps.second, sizes.bytes, { share: 0.01, regions: 50 });
  writeSmallFiles(data.small, sizes.files, 'bench');
  mkdirSync(data.stream);
  const link = async (now: 'first' | 'second'): Promise<void> => {
    const dump = join(data.stream, 'dump.sql');
    rmSync(dump, { force: true });
    linkSync(dumps[now], dump);
    await setTimeout(SETTLED_MS);
  };
  const taken = await interleaved(
    sizes.rounds,
    async (round) => {
      // Nothing is removed before all is measured: ext4 looks at every inode that was freed within the last minutes
      // when it makes a file near it, so that whoever comes after a large removal takes ten times as long.
      const place = join(dir, `round-${round}`);
      const peers = {
        stream: await peersOn(place, data.stream, sizes),
        small: await peersOn(place, data.small, sizes),
      };
      return WORKS.map(({ name, verb, on, now, options = [] }) => ({
        before: () => (now ? link(now) : undefined),
        candidates: [
          { name: `${name}: Lifeboat`, run: () => peers[on].ours(verb, []) },
          { name: `${name}: restic`, run: () => peers[on].theirs(verb, options) },
        ],
      }));
    },
    say,
  );
  return WORKS.map(({ name, limits, options = [] }) =>
    compared(taken, name, {
      ours: `${name}: Lifeboat`,
      theirs: `${name}: restic`,
      peer: ['restic', ...options].join(' '),
      limits,
    }),
  );
}

/** Both with a repository of their own for what lies in `source`, in a folder of their own. */
async function peersOn(dir: string, source: string, { restic }: ResticSizes): Promise<Record<'ours' | 'theirs', Peer>> {
  const name = basename(source);
  const [ours, theirs] = [join(dir, 'ours', name), join(dir, 'theirs', name)];
  mkdirSync(ours, { recursive: true });
  const store = join(ours, 'store');
  const component = { kind: 'files', root: source, paths: ['/'] };
  const lifeboat = await lifeboatWith(join(ours, 'lifeboat.yaml'), { store: resticStore(store), component });
  const env = { ...process.env, RESTIC_PASSWORD: 'bench', RESTIC_CACHE_DIR: join(dir, 'cache') };
  const stock = (...args: string[]): Promise<Figures> => measure(restic, ['-q', '-r', theirs, ...args], env);
  execFileSync(restic, ['init', '-q', '-r', theirs], { env });
  mkdirSync(join(dir, 'out'), { recursive: true });
  const fresh = (): string => mkdtempSync(join(dir, 'out', 'restored-'));
  return {
    ours: peer(store, {
      backup: () => lifeboat(['backup']),
      restore: () => lifeboat(['restore', 'latest', '--yes', '--to', `data=${fresh()}`]),
      verify: () => lifeboat(['verify', '--all', '--read-data']),
    }),
    theirs: peer(theirs, {
      backup: () => stock('backup', source),
      restore: (options) => stock('restore', 'latest', '--target', fresh(), ...options),
      verify: () => stock('check', '--read-data'),
    }),
  };
}

type Peer = (verb: Verb, options: readonly string[]) => Promise<Measured>;
type Run = (options: readonly string[]) => Promise<Figures>;

function peer(repository: string, works: Readonly<Record<Verb, Run>>): Peer {
  return async (verb, options) => ({ ...(await works[verb](options)), storedBytes: bytesBelow(repository) });
}

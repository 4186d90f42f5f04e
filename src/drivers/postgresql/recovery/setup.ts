// What makes a server that starts on a restored directory recover to a target: settings, the histories of timelines,
// and a folder that the log is handed over in. Nothing else of the directory is changed.

import { readdirSync, readFileSync, rmSync } from 'node:fs';
import type { Replay } from '../../../core/component.ts';
import { close, type Dir, openDir, within } from '../../beneath.ts';
import { attempt, unlessGone } from '../../failures.ts';
import { putDirectory, replaceFile, syncDirectory, syncFile } from '../physical/put-file.ts';
import type { Owner } from '../physical/target.ts';
import type { Aim } from './aim.ts';
import { historiesOf } from './histories.ts';
import { AUTO_CONF, FETCH, KEPT, SIGNAL, SPOOL } from './names.ts';
import { fetchingScript, waitingScript } from './scripts.ts';

const BEGIN = '\n# Lifeboat: how this directory is to be recovered\n';
const END = '# Lifeboat: end\n';
const TARGETS = ['', '_name', '_time', '_xid', '_lsn'].map((kind) => `recovery_target${kind}`);

interface Place {
  readonly root: Dir;
  readonly owner: Owner | null;
}

interface Plan {
  readonly replay: Replay;
  readonly aim: Pick<Aim, 'setting' | 'timeline'>;
  readonly system: string;
  /** What gives the server a file of its log; as the replay says when left out. */
  readonly script?: string;
}

/** The signal comes last: without it a server recovers what the base backup brought, and no more. */
export async function setUpRecovery(place: Place, plan: Plan): Promise<void> {
  await writeRecovery(place, plan, (before) => before);
}

/** In place of what was set up before, of which nothing is left in the spool. No server runs. */
export async function changeRecovery(place: Place, plan: Plan): Promise<void> {
  emptySpool(place.root);
  await writeRecovery(place, plan, withoutRecovery);
}

async function writeRecovery(
  { root, owner }: Place,
  { replay, aim, system, script }: Plan,
  kept: (before: Buffer) => Buffer,
): Promise<void> {
  const written: string[] = [];
  const write = (name: string, content: string | Uint8Array): void => {
    replaceFile(root, name, content, owner);
    written.push(name);
  };
  const ownOf = (name: string): string =>
    unlessGone(Buffer.from(name), () => readFileSync(within(root, Buffer.from(`pg_wal/${name}`)), 'utf8')) ?? '';
  putDirectory(root, SPOOL, owner);
  for (const [name, text] of historiesOf(replay.lineages, system, ownOf)) {
    if (text !== '') write(`${SPOOL}/${name}${KEPT}`, text);
  }
  write(`${SPOOL}/${FETCH}`, script ?? (replay.command ? fetchingScript(replay.command) : waitingScript()));
  const before = attempt(AUTO_CONF, () => readFileSync(within(root, Buffer.from(AUTO_CONF))));
  write(AUTO_CONF, Buffer.concat([kept(before), Buffer.from(settingsFor(aim))]));
  write(SIGNAL, '');
  for (const name of written) await syncFile(root, name);
  for (const name of [SPOOL, 'pg_wal']) syncDirectory(root, name);
}

function emptySpool(root: Dir): void {
  const log = openDir(root, Buffer.from('pg_wal'));
  const spool = log && openDir(log, Buffer.from(SPOOL.slice('pg_wal/'.length)));
  try {
    for (const name of spool ? readdirSync(within(spool, Buffer.from('.')), 'utf8') : []) {
      if (spool) attempt(`${SPOOL}/${name}`, () => rmSync(within(spool, Buffer.from(name)), { recursive: true }));
    }
  } finally {
    for (const dir of [spool, log]) if (dir) close(dir);
  }
}

/** A file as it was before `setUpRecovery`. */
export function withoutRecovery(text: Buffer): Buffer {
  const at = text.lastIndexOf(BEGIN);
  return at < 0 ? text : text.subarray(0, at);
}

/**
 * The last of several settings counts, so the base's own targets are unset first; the server refuses one that comes
 * after another.
 */
function settingsFor({ setting, timeline }: Plan['aim']): string {
  const lines = [
    ['restore_command', `mv ${SPOOL}/%f %p 2> /dev/null || sh ${SPOOL}/${FETCH} %f %p`],
    // Who fills it may put something there meanwhile, once.
    ['recovery_end_command', `rm -rf ${SPOOL} 2> /dev/null || { sleep 1; rm -rf ${SPOOL}; }`],
    ...TARGETS.filter((name) => name !== setting.name).map((name) => [name, '']),
    ['recovery_target_inclusive', 'on'],
    ['recovery_target_timeline', String(timeline)],
    ['recovery_target_action', 'promote'],
    [setting.name, setting.value],
  ];
  return `${BEGIN}${lines.map(([name, value = '']) => `${name} = ${quoted(value)}\n`).join('')}${END}`;
}

function quoted(value: string): string {
  return `'${value.replace(/['\\]/g, '$&$&')}'`;
}

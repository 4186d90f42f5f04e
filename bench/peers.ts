// The programs that are measured beside ours.

import { spawnSync } from 'node:child_process';
import { TIME } from './measure.ts';

export interface Peer {
  readonly name: string;
  readonly program: string;
  /** Make it tell its version. */
  readonly args: readonly string[];
  /** Its rows are left out where it is missing, and the others measured. */
  readonly optional?: true;
}

/** What each says of its version. Throws with the names of all that are missing. */
export async function needPeers(peers: readonly Peer[]): Promise<readonly string[]> {
  const missing: string[] = [];
  const versions: string[] = [];
  const all: readonly Peer[] = [{ name: 'GNU time', program: TIME, args: ['--version'] }, ...peers];
  for (const { name, program, args, optional } of all) {
    const { status, stdout, stderr } = spawnSync(program, args, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    if (status !== 0 && optional) {
      versions.push(`${name} is not on this machine, and its rows are missing`);
      continue;
    }
    if (status !== 0) {
      missing.push(`${name} (${program} ${args.join(' ')})`);
      continue;
    }
    const [line = ''] = (stdout.trim() || stderr.trim()).split('\n');
    versions.push(line.toLowerCase().startsWith(name.toLowerCase()) ? line : `${name}: ${line}`);
  }
  if (missing.length > 0) throw new Error(`not on this machine: ${missing.join(', ')}`);
  return versions.slice(1); // how it was counted is no peer
}

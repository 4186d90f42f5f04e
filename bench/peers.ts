// The programs that are measured beside ours.

import { execFileSync } from 'node:child_process';
import { TIME } from './measure.ts';

export interface Peer {
  readonly name: string;
  readonly program: string;
  /** Make it tell its version. */
  readonly args: readonly string[];
}

/** What each says of its version. Throws with the names of all that are missing. */
export async function needPeers(peers: readonly Peer[]): Promise<readonly string[]> {
  const missing: string[] = [];
  const versions: string[] = [];
  for (const { name, program, args } of [{ name: 'GNU time', program: TIME, args: ['--version'] }, ...peers]) {
    try {
      const said = execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
      const [line = ''] = said.split('\n');
      versions.push(line.toLowerCase().startsWith(name.toLowerCase()) ? line : `${name}: ${line}`);
    } catch {
      missing.push(`${name} (${program} ${args.join(' ')})`);
    }
  }
  if (missing.length > 0) throw new Error(`not on this machine: ${missing.join(', ')}`);
  return versions.slice(1); // how it was counted is no peer
}

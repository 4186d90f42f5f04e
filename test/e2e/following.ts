// The command that follows, while it runs.

import type { ChildProcess } from 'node:child_process';
import { lifeboat, type Ran } from './lifeboat.ts';

interface Event {
  readonly task: string;
  readonly note?: string;
  readonly up_to?: { readonly position: string; readonly at: string };
}
export interface Running {
  /** Resolves when an event fits. */
  until(fits: (event: Event) => boolean): Promise<void>;
  kill(signal: NodeJS.Signals): Promise<Ran>;
}

/** `lifeboat follow` of the configuration in `dir`, and what it says of its progress. */
export function startFollowing(dir: string): Running {
  let child: ChildProcess | undefined;
  let last: Event | undefined;
  const looking = new Set<() => void>();
  const ran = lifeboat(['follow', '--progress', 'json', '--json'], {
    cwd: dir,
    onStart(started) {
      child = started;
      let rest = '';
      started.stderr?.on('data', (text: string) => {
        const lines = (rest + text).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines.filter((each) => each.includes('"phase":'))) {
          last = JSON.parse(line) as Event;
          for (const look of looking) look();
        }
      });
    },
  });
  return {
    until: (fits) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (!last || !fits(last)) return;
          looking.delete(look);
          resolve();
        };
        looking.add(look);
        look();
        ran.then(({ stderr }) => reject(new Error(`it ended: ${stderr}`)), reject);
      }),
    async kill(signal) {
      child?.kill(signal);
      return await ran;
    },
  };
}

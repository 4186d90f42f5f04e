// Keeps the directories open that lead to where the walk is, so that 20 000 files do not open their parents again.

import { close, type Dir, makeDir, openDir } from '../beneath.ts';
import type { Entry } from './entries.ts';
import { encode, segmentsOf } from './names.ts';

export interface Level {
  readonly dir: Dir;
  readonly name: string;
  /** Set by who wants to meet it again when the walk leaves. */
  entry?: Entry;
  /** Work that still needs the directory. */
  pending: number;
  left: boolean;
}

export interface Steps {
  /** Opens the directory of that name; those that the walk leaves are closed once nothing needs them. */
  to(name: string): Level | null;
  /** Runs work that needs the level to stay open. */
  hold<T>(level: Level, work: () => Promise<T>): Promise<T>;
  /** Leaves them all, when all went well. */
  finish(): void;
  /** Closes what is still open, as it is. */
  end(): void;
}

export interface StepOptions {
  /** Missing directories are made with the mode that it tells; without it `to` answers null. */
  readonly modeOf?: (name: string) => number;
  /** Called when the walk has left a level and nothing needs it any more; no more once any work on one has failed. */
  readonly leave?: (level: Level) => void;
}

export function stepsFrom(root: Dir, { modeOf, leave = () => {} }: StepOptions): Steps {
  const levels: [Level, ...Level[]] = [{ dir: root, name: '/', pending: 0, left: false }];
  let isWell = true;
  function closeIfDone(level: Level): void {
    if (!level.left || level.pending > 0) return;
    try {
      if (isWell) leave(level);
    } finally {
      if (level.dir !== root) close(level.dir);
    }
  }
  const top = (): Level => levels.at(-1) ?? levels[0];
  function pop(): void {
    const level = top();
    levels.pop();
    level.left = true;
    closeIfDone(level);
  }
  return {
    to(name) {
      if (top().name === name) return top();
      while (levels.length > 1 && !name.startsWith(top().name)) pop();
      for (const segment of segmentsOf(name).slice(levels.length - 1)) {
        const below = `${top().name}${encode(segment)}/`;
        const dir = modeOf ? makeDir(top().dir, segment, modeOf(below)) : openDir(top().dir, segment);
        if (!dir) return null;
        levels.push({ dir, name: below, pending: 0, left: false });
      }
      return top();
    },
    async hold(level, work) {
      level.pending += 1;
      try {
        return await work();
      } catch (error) {
        isWell = false;
        throw error;
      } finally {
        level.pending -= 1;
        closeIfDone(level);
      }
    },
    finish() {
      while (levels.length > 0) pop();
    },
    end() {
      isWell = false;
      while (levels.length > 0) pop();
    },
  };
}

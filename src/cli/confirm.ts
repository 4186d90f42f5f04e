import { createInterface } from 'node:readline/promises';
import { Failure } from '../core/errors.ts';
import type { Session } from './session.ts';

/** Asks a person to type `word`; anything else stops with 'not-confirmed'. Without a terminal only --yes goes on. */
export async function confirm(session: Session, yes: boolean, what: string, word: string): Promise<void> {
  if (yes) return;
  if (!session.interactive) {
    const begun = `${what.charAt(0).toLowerCase()}${what.slice(1)}`;
    throw new Failure('not-confirmed', `${begun}, and there is no terminal to ask at`, {
      hint: 'add --yes to do it without being asked',
    });
  }
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const question = prompt.question(`${what}.\nType ${word} to go on: `, { signal: session.ctx.signal });
    const answer = await question.catch((cause: unknown) => {
      // The terminal gives the key to the question, not to us as a signal.
      throw new Failure('interrupted', 'stopped at the question; nothing was touched', { cause });
    });
    if (answer.trim() !== word) throw new Failure('not-confirmed', 'not confirmed; nothing was touched');
  } finally {
    prompt.close();
  }
}

// What a capture has to say about some of its objects, however many they are.

import type { Told } from './intake.ts';
import { REPLACED } from './pages.ts';

const NAMED_MAX = 20;

export interface Warnings extends Told {
  list(): string[];
}

/** Of a million some are named, and the others counted. */
interface Some {
  readonly names: string[];
  more: number;
}

export function warningList(): Warnings {
  const [changed, vanished, unsaid] = [some(), some(), some()];
  return {
    changed: (name) => note(changed, name),
    vanished: (name) => note(name.includes(REPLACED) ? unsaid : vanished, name),
    list: () => [
      ...told(changed, 'changed while it was read: it is captured as it was then'),
      ...told(vanished, 'was deleted while the bucket was captured, and is left out'),
      ...told(
        unsaid,
        'is not captured: its key is no text, and the server lists it under a name that it does not have',
      ),
    ],
  };
}

function some(): Some {
  return { names: [], more: 0 };
}

function note(kept: Some, name: string): void {
  if (kept.names.length < NAMED_MAX) kept.names.push(name);
  else kept.more += 1;
}

function told({ names, more }: Some, what: string): string[] {
  const texts = names.map((name) => `${name} ${what}`);
  return more > 0 ? [...texts, `and ${more} more of that kind`] : texts;
}

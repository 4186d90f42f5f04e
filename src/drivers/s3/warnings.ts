// What a capture has to say about some of its objects, however many they are.

import type { Told } from './intake.ts';
import { REPLACED } from './pages.ts';

const NAMED_MAX = 20;

export interface Warnings extends Told {
  list(): string[];
}

export function warningList(): Warnings {
  const changed: string[] = [];
  const vanished: string[] = [];
  const unsaid: string[] = [];
  return {
    changed: (name) => void changed.push(name),
    vanished: (name) => void (name.includes(REPLACED) ? unsaid : vanished).push(name),
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

function told(names: readonly string[], what: string): string[] {
  const texts = names.slice(0, NAMED_MAX).map((name) => `${name} ${what}`);
  const more = names.length - texts.length;
  return more > 0 ? [...texts, `and ${more} more of that kind`] : texts;
}

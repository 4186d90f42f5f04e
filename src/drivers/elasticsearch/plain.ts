// Captures in folders of plain files: what they are in any store, with long ones packed.

import type { Rendition } from '../../core/model.ts';

export function formOf(part: string): Rendition {
  const gzip = !part.endsWith('.json');
  const form = { name: part, word: 'elasticsearch', item: null, alone: true, suffix: '', gzip, path: part.split('/') };
  return { ...form, quick: true };
}

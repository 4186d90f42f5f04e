import type { Part } from '../../core/model.ts';
import type { DatabaseToc } from './toc-part.ts';

/** One database of the point and where it goes. */
export interface Item {
  readonly database: string;
  readonly target: string;
  readonly part: Part;
  readonly sort: 'archive' | 'sql';
  readonly known: DatabaseToc | null;
}

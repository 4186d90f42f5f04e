import type { Source } from '../../core/model.ts';
import type { Mapping } from './mapping.ts';
import type { Acl } from './protocol.ts';
import type { Settings } from './settings.ts';
import type { Writer } from './writer.ts';

/** A restore under way. */
export interface Job {
  readonly settings: Settings;
  readonly source: Source;
  readonly writer: Writer;
  readonly mapping: Mapping;
  /** What is there already is made the same; 'replace' also removes what the point has not. */
  readonly over: 'nothing' | 'delta' | 'replace';
  /** Until the last step: whoever reads the point's data may read it, and nobody else. */
  readonly ours: readonly Acl[];
}

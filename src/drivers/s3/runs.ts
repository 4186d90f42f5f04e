// Entries of one key belong together: their order is the order of its versions.

import type { Entry } from './entries.ts';
import { PUT_BYTES_MAX } from './writing.ts';

const GROUP_ENTRIES = 128;

/** Groups of runs, each run all entries of one key. */
export async function* runsOf(batches: AsyncIterable<readonly Entry[]>): AsyncIterable<Entry[][]> {
  let group: Entry[][] = [];
  let [entries, bytes] = [0, 0];
  let run: Entry[] = [];
  for await (const batch of batches) {
    for (const entry of batch) {
      const [first] = run;
      if (first && (first.key !== entry.key || first.bucket !== entry.bucket)) {
        group.push(run);
        run = [];
        if (entries >= GROUP_ENTRIES || bytes >= PUT_BYTES_MAX) {
          yield group;
          group = [];
          [entries, bytes] = [0, 0];
        }
      }
      run.push(entry);
      entries += 1;
      bytes += entry.bytes ?? 0;
    }
  }
  if (run.length > 0) group.push(run);
  if (group.length > 0) yield group;
}

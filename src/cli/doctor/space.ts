// Free space where this machine writes, against what a backup may bring.

import { statfs } from 'node:fs/promises';
import { messageOf } from '../../core/errors.ts';
import type { Finding } from '../../core/model.ts';
import { bytesText } from '../terminal.ts';

/** `need` is what may come, null when nobody knows; `otherwise` is what it means that it would not fit. */
export async function spaceFinding(
  check: string,
  dir: string,
  { need, otherwise }: { need: number | null; otherwise: string },
): Promise<Finding> {
  try {
    const { bavail, bsize } = await statfs(dir);
    const free = `${bytesText(bavail * bsize)} free`;
    if (need === null) return { check, verdict: 'pass', detail: `${free}; how much is to come is not known yet` };
    if (bavail * bsize > need) return { check, verdict: 'pass', detail: `${free}, at most ${bytesText(need)} to come` };
    return { check, verdict: 'unknown', detail: `${free}, up to ${bytesText(need)} to come: ${otherwise}` };
  } catch (error) {
    return { check, verdict: 'unknown', detail: messageOf(error) };
  }
}

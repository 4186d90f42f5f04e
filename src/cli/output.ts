// Files that a command writes its result to.

import { access, constants, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { Failure, systemCode } from '../core/errors.ts';

/** Throws before the work is done for nothing: when the file's folder is missing or can't be written to. */
export async function needPlaceFor(file: string, option: string): Promise<void> {
  const folder = dirname(resolve(file));
  try {
    await access(folder, constants.W_OK | constants.X_OK);
    const there = await stat(file).catch((error: unknown) => {
      if (systemCode(error) === 'ENOENT') return null;
      throw error;
    });
    if (there?.isDirectory()) throw new Failure('usage', `${option} ${file} is a folder, not a file`);
  } catch (cause) {
    if (cause instanceof Failure) throw cause;
    const why =
      systemCode(cause) === 'ENOENT' ? 'there is no folder' : `no file can be written (${systemCode(cause)}) in`;
    throw new Failure('usage', `${option} ${file}: ${why} ${folder}`, { cause });
  }
}

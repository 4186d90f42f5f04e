// PostgreSQL's own look at a restored backup, where the machine has its program.

import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure, isFailure } from '../../../core/errors.ts';
import type { Context } from '../../../core/model.ts';
import { run } from '../../../core/process.ts';
import { cleanContext, findProgram, type Program } from '../programs.ts';
import type { DirectorySettings } from '../settings.ts';
import { MARK, type OpenPlaces } from './target.ts';

export const VERIFIER = 'pg_verifybackup';

/** The program that has said that all is well; null where there is none of that major. 'checksum' where it is not. */
export async function verifyBackup(
  ctx: Context,
  { path, binDir, deadlineMs }: DirectorySettings,
  { all, owner }: Pick<OpenPlaces, 'all' | 'owner'>,
  everyByte: boolean,
): Promise<Program | null> {
  const major = Number.parseInt(await readFile(join(path, 'PG_VERSION'), 'utf8'), 10);
  const program = await findProgram(ctx, { name: VERIFIER, major, orNewer: false, binDir }).catch((error: unknown) => {
    if (isFailure(error, 'program-missing')) return null;
    throw error;
  });
  if (!program) return null;
  // It reads the log by another program, which not every package has.
  const noLog = existsSync(join(program.dir, 'pg_waldump')) ? [] : ['--no-parse-wal'];
  // All bytes were hashed when they were written, and are once more when they are compared.
  const quick = everyByte ? [] : ['--skip-checksums'];
  const args = ['--quiet', ...quick, ...all.map(({ files }) => `--ignore=${files}${MARK}`), ...noLog, path];
  try {
    await run(cleanContext(ctx), { program: program.path, args, ...(owner ? { user: owner } : {}) }, { deadlineMs });
    return program;
  } catch (cause) {
    if (!isFailure(cause, 'program-failed')) throw cause;
    throw new Failure('checksum', `${path} is not what was backed up: ${cause.message}`, { cause });
  }
}

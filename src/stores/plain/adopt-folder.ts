// A folder of ours, found without the point that it is of: what it says of itself makes it one again. Its files are
// looked at, and read when they are needed: it has a checksum of each.

import { measured } from '../../core/bytes.ts';
import { type ErrorCode, Failure, messageOf } from '../../core/errors.ts';
import type { Bytes, Context, Finding } from '../../core/model.ts';
import type { CapturedComponent } from '../../core/point.ts';
import type { AdoptOptions, Bucket } from '../../core/storage.ts';
import { type AboutFolder, aboutFolder, folderEntries, folderFindings } from './folder.ts';
import { indexKey } from './keys.ts';
import type { Proof } from './manifest.ts';
import { putBody } from './objects.ts';

/** What reading a folder fails with when the folder is at fault; anything else ends the import. */
const UNFIT: readonly ErrorCode[] = ['checksum', 'malformed', 'missing'];

export interface FoundFolder {
  readonly id: string;
  readonly folder: string;
  readonly components: AdoptOptions['components'];
  /** Components that have their files already. */
  readonly taken: ReadonlySet<string>;
}
interface AdoptedFolder {
  readonly component: string;
  readonly captured: CapturedComponent;
  readonly proof: Proof;
}

/** Null when it is of a component that is not meant. */
export async function adoptFolder(
  ctx: Context,
  bucket: Bucket,
  found: FoundFolder,
): Promise<AdoptedFolder | { readonly findings: readonly Finding[] } | null> {
  const { id, folder } = found;
  ctx.progress({ task: id, phase: 'import' });
  const check = `${folder} is whole`;
  const hint = 'copy it here once more';
  try {
    const about = await aboutFolder(ctx, bucket, folder);
    const component = componentFor(about, found);
    if (component === null) return null;
    if (typeof component !== 'string') return { findings: [component] };
    const findings = await folderFindings(ctx, bucket, folder, about.files);
    if (findings.length > 0) return { findings: findings.map((each) => ({ ...each, hint })) };
    const list = measured(indexLines(ctx, bucket, folder, about));
    await putBody(ctx, bucket, indexKey(id, component), list.body);
    const file = { file: folder, size: about.files.bytes };
    return { component, captured: about.captured, proof: { index: list.sum(), files: [file], folder: about.files } };
  } catch (error) {
    if (!(error instanceof Failure) || !UNFIT.includes(error.code)) throw error;
    return { findings: [{ check, verdict: 'fail', detail: messageOf(error), hint }] };
  }
}

/** By name, else the only one of its kind. */
function componentFor(
  { point, component, captured: { kind } }: AboutFolder,
  { id, folder, components, taken }: FoundFolder,
): string | Finding | null {
  const alike = components.filter((each) => each.kind === kind && !taken.has(each.name));
  const [only, ...others] = alike;
  if (!only) return null;
  const unclear = (detail: string, hint: string): Finding => {
    return { check: `${folder} can be told`, verdict: 'unknown', detail, hint };
  };
  if (point.id !== id) return unclear(`it is of ${point.id}`, 'give it the name that it had');
  if (alike.some(({ name }) => name === component)) return component;
  if (others.length === 0) return only.name;
  const names = alike.map(({ name }) => name).join(' and ');
  return unclear(`it is of ${component} and fits ${names}`, `call the component ${component}`);
}

async function* indexLines(ctx: Context, bucket: Bucket, folder: string, { files }: AboutFolder): Bytes {
  for await (const entries of folderEntries(ctx, bucket, folder, files)) {
    yield Buffer.from(entries.map((entry) => `${JSON.stringify(entry)}\n`).join(''));
  }
}

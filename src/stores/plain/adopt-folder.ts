// A folder found without the point that it is of. What one of ours says of itself makes it one again: its files are
// looked at, and read when they are needed, since it has a checksum of each. Others are read.

import { measured } from '../../core/bytes.ts';
import type { RecognisedFolder } from '../../core/driver.ts';
import { type ErrorCode, Failure, messageOf } from '../../core/errors.ts';
import type { Bytes, Context, Finding } from '../../core/model.ts';
import type { CapturedComponent } from '../../core/point.ts';
import type { AdoptOptions, Bucket } from '../../core/storage.ts';
import { adoptMirror } from './adopt-mirror.ts';
import { type AboutFolder, aboutFolder, folderEntries, folderFindings, isOwnFolder } from './folder.ts';
import { importedComponent } from './imported.ts';
import { indexKey } from './keys.ts';
import type { Proof } from './manifest.ts';
import { putBody } from './objects.ts';

/** What reading a folder fails with when the folder is at fault; anything else ends the import. */
const UNFIT: readonly ErrorCode[] = ['checksum', 'malformed', 'missing'];
const OWN_STAMP = /[-_](\d{8}_\d{6}|\d{4}-\d{2}-\d{2}-\d{6})\/$/;

type Components = AdoptOptions['components'];
/** A folder that is one of ours, or that somebody knows. */
export interface FolderClaim {
  readonly folder: string;
  readonly stamp: string;
  /** Of those that others have filled: who knows them. */
  readonly claims: readonly { readonly component: string; readonly kind: string; readonly known: RecognisedFolder }[];
  readonly own: boolean;
}
export interface FoundFolder {
  readonly id: string;
  readonly claim: FolderClaim;
  readonly components: Components;
  /** Components that have their files already. */
  readonly taken: ReadonlySet<string>;
}
interface FolderResult {
  readonly adopted: {
    readonly component: string;
    readonly captured: CapturedComponent;
    readonly proof: Proof;
  } | null;
  readonly findings: readonly Finding[];
}

/** Null when it is none of ours and nobody knows it. */
export async function claimFolder(
  ctx: Context,
  bucket: Bucket,
  components: Components,
  folder: string,
): Promise<FolderClaim | null> {
  const [, stamp] = OWN_STAMP.exec(folder) ?? [];
  if (stamp !== undefined && (await isOwnFolder(ctx, bucket, folder))) return { folder, stamp, claims: [], own: true };
  const name = folder.slice(folder.lastIndexOf('/', folder.length - 2) + 1, -1);
  const claims = components.flatMap(({ name: component, kind, recogniseFolder }) => {
    const known = recogniseFolder?.(name);
    return known ? [{ component, kind, known }] : [];
  });
  const [first] = claims;
  return first ? { folder, stamp: first.known.stamp, claims, own: false } : null;
}

/** Null when it is of a component that is not meant. */
export async function adoptFolder(ctx: Context, bucket: Bucket, found: FoundFolder): Promise<FolderResult | null> {
  const { folder, own } = found.claim;
  const hint = 'copy it here once more';
  try {
    return own ? await adoptOwn(ctx, bucket, found) : await adoptForeign(ctx, bucket, found);
  } catch (error) {
    if (!(error instanceof Failure) || !UNFIT.includes(error.code)) throw error;
    const finding: Finding = { check: `${folder} is whole`, verdict: 'fail', detail: messageOf(error), hint };
    return { adopted: null, findings: [finding] };
  }
}

async function adoptOwn(ctx: Context, bucket: Bucket, found: FoundFolder): Promise<FolderResult | null> {
  const { id } = found;
  const { folder } = found.claim;
  ctx.progress({ task: id, phase: 'import' });
  const about = await aboutFolder(ctx, bucket, folder);
  const component = componentFor(about, found);
  if (component === null) return null;
  if (typeof component !== 'string') return { adopted: null, findings: [component] };
  const findings = await folderFindings(ctx, bucket, folder, about.files);
  if (findings.length > 0) {
    return { adopted: null, findings: findings.map((each) => ({ ...each, hint: 'copy it here once more' })) };
  }
  const list = measured(indexLines(ctx, bucket, folder, about));
  await putBody(ctx, bucket, indexKey(id, component), list.body);
  const file = { file: folder, size: about.files.bytes };
  const proof = { index: list.sum(), files: [file], folder: about.files };
  return { adopted: { component, captured: about.captured, proof }, findings: [] };
}

/** Whether it is whole, nothing in it says. */
async function adoptForeign(ctx: Context, bucket: Bucket, { id, claim, taken }: FoundFolder): Promise<FolderResult> {
  const { folder, claims } = claim;
  const unknown = (check: string, detail: string): Finding => ({ check, verdict: 'unknown', detail });
  const [only, ...others] = claims.filter(({ component }) => !taken.has(component));
  if (!only || others.length > 0) {
    const names = claims.map(({ component }) => component).join(' and ');
    return { adopted: null, findings: [unknown(`${folder} can be told`, `it fits ${names}`)] };
  }
  const { component, kind, known } = only;
  const read = await adoptMirror(ctx, bucket, { id, folder, component, known });
  if (!read) return { adopted: null, findings: [unknown(`${folder} can be told`, 'nothing in it is a backup')] };
  const findings = [unknown(`${folder} is whole`, 'another program has made it, without a list of its files')];
  const captured = importedComponent(kind, read.parts);
  return { adopted: { component, captured, proof: read.proof }, findings };
}

/** By name, else the only one of its kind. */
function componentFor(
  { point, component, captured: { kind } }: AboutFolder,
  { id, claim: { folder }, components, taken }: FoundFolder,
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

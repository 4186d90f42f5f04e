// The backup's own manifest, read while it passes: a JSON document that PostgreSQL writes with a line for each file, so
// that a million of them need no more memory than one.

import { createHash } from 'node:crypto';
import { Failure, messageOf } from '../../../core/errors.ts';

/** Of a line; the name of a file has 4 KiB at most. */
const LINE_CHARS_MAX = 64 * 1024;
/** A handful, and one for each timeline that the backup saw. */
const FRAME_LINES_MAX = 1000;

export interface ListedFile {
  readonly path: string;
  readonly bytes: number;
  /** In hex. */
  readonly sha256: string;
  /** In the server's words. */
  readonly modified: string;
}
export interface ManifestReader {
  /** The files that are listed in what is whole by now. */
  push(chunk: Uint8Array): ListedFile[];
  /** 'malformed' unless all of it has come, as its own checksum says. */
  end(): void;
  /** The lines that are of no file, but for that checksum. */
  readonly frame: readonly string[];
}

type Section = 'head' | 'Files' | 'WAL-Ranges' | 'tail' | 'end';

export function manifestReader(what: string): ManifestReader {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const digest = createHash('sha256');
  let section: Section = 'head';
  let rest = '';
  const frame: string[] = [];
  const malformed = (why: string, cause?: unknown): Failure =>
    new Failure('malformed', `${what}: the manifest of the backup ${why}`, { cause });

  function line(text: string, files: ListedFile[]): void {
    if (section === 'end') throw malformed('goes on after its end');
    const [, name, value = ''] = /^\{? ?"([\w-]+)": (.+)$/.exec(text) ?? [];
    if (name === 'Manifest-Checksum' && section === 'tail') {
      if (value !== `"${digest.digest('hex')}"}`) throw malformed('is not what its checksum says');
      section = 'end';
      return;
    }
    digest.update(`${text}\n`);
    if (section === 'Files' && text.startsWith('{')) {
      files.push(fileIn(text, malformed));
      return;
    }
    if (frame.push(text) > FRAME_LINES_MAX) throw malformed('has too many lines of its own');
    if (section === 'WAL-Ranges' && text.startsWith('{')) return;
    else if (text === '],' && (section === 'Files' || section === 'WAL-Ranges')) section = 'tail';
    else if (name === 'PostgreSQL-Backup-Manifest-Version' && section === 'head') {
      if (!/^[12],$/.test(value)) throw malformed(`is of a version that is not known: ${value}`);
    } else if (name === 'Files' && section === 'head') section = 'Files';
    else if (name === 'WAL-Ranges' && section === 'tail') section = 'WAL-Ranges';
    else if (name !== 'System-Identifier' || section !== 'head') throw malformed('has a line that is none of its own');
  }
  return {
    push(chunk) {
      const files: ListedFile[] = [];
      const lines = (rest + decoded(decoder, chunk, malformed)).split('\n');
      rest = lines.pop() ?? '';
      for (const each of lines) line(each, files);
      if (rest.length > LINE_CHARS_MAX) throw malformed('has a line that is too long');
      return files;
    },
    end() {
      if (section !== 'end' || rest !== '') throw malformed('ends in the middle');
    },
    frame,
  };
}

function decoded(
  decoder: InstanceType<typeof TextDecoder>,
  chunk: Uint8Array,
  malformed: (why: string, cause: unknown) => Failure,
): string {
  try {
    return decoder.decode(chunk, { stream: true });
  } catch (cause) {
    throw malformed('is no text', cause);
  }
}

function fileIn(line: string, malformed: (why: string, cause?: unknown) => Failure): ListedFile {
  let entry: Readonly<Record<string, unknown>>;
  try {
    entry = JSON.parse(line.endsWith(',') ? line.slice(0, -1) : line);
  } catch (cause) {
    throw malformed(`has a line that is none: ${messageOf(cause)}`, cause);
  }
  const {
    Path: path,
    Size: bytes,
    'Last-Modified': modified,
    'Checksum-Algorithm': algorithm,
    Checksum: sha256,
  } = entry;
  // Names that are no UTF-8 have another field; the archive with them was refused.
  if (typeof path !== 'string' || !Number.isSafeInteger(bytes) || typeof modified !== 'string')
    throw malformed('lists a file without name or size');
  if (algorithm !== 'SHA256' || typeof sha256 !== 'string' || !/^[0-9a-f]{64}$/.test(sha256)) {
    throw malformed(`has no SHA-256 of ${path}`);
  }
  return { path, bytes: Number(bytes), sha256, modified };
}

// The manifest of a backup that was put together from an earlier one and what has changed: in PostgreSQL's own form,
// with what its own manifest says of the log.

import { createHash } from 'node:crypto';
import { batched } from '../../../core/bytes.ts';
import type { Bytes } from '../../../core/model.ts';

export interface WrittenFile {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
  /** As the server wrote it. */
  readonly modified: string;
}

const FILES = '"Files": [';

/** `frame`: the lines of the server's manifest that are of no file, but for its checksum. */
export function writtenManifest(frame: readonly string[], files: AsyncIterable<readonly WrittenFile[]>): Bytes {
  const digest = createHash('sha256');
  async function* text(): AsyncIterable<string> {
    for (const line of frame) {
      yield `${line}\n`;
      if (line !== FILES) continue;
      let before = '';
      for await (const batch of files) {
        for (const file of batch) {
          yield before + lineOf(file);
          before = ',\n';
        }
      }
      yield '\n';
    }
  }
  async function* hashed(): AsyncIterable<string> {
    for await (const piece of text()) {
      digest.update(piece);
      yield piece;
    }
    yield `"Manifest-Checksum": "${digest.digest('hex')}"}\n`;
  }
  return batched(hashed());
}

function lineOf({ path, bytes, sha256, modified }: WrittenFile): string {
  const [name, time] = [JSON.stringify(path), JSON.stringify(modified)];
  const sum = `"Checksum-Algorithm": "SHA256", "Checksum": "${sha256}"`;
  return `{ "Path": ${name}, "Size": ${bytes}, "Last-Modified": ${time}, ${sum} }`;
}

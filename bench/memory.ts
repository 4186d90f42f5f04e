// The most memory that a backup takes, of a little and of ten times as much.

import { createCipheriv, createHash } from 'node:crypto';
import { appendFileSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { lifeboatWith, resticStore } from './lifeboat.ts';
import { alone, interleaved, type Row } from './measure.ts';

const BLOCK = Buffer.alloc(8 * 2 ** 20);

/** Once each: what counts here is the peak. */
export async function measureMemory(
  dir: string,
  sizes: readonly number[],
  say: (line: string) => void,
): Promise<readonly Row[]> {
  const source = join(dir, 'source');
  mkdirSync(source);
  const noise = noiseFrom('bench');
  let written = 0;
  const stages = sizes.map((bytes) => ({
    before() {
      for (; written < bytes; written += BLOCK.length) appendFileSync(join(source, 'noise'), noise());
    },
    candidates: [
      {
        name: nameOf(bytes),
        async run() {
          const store = join(dir, 'store');
          const component = { kind: 'files', root: source, paths: ['/'] };
          const lifeboat = await lifeboatWith(join(dir, 'lifeboat.yaml'), { store: resticStore(store), component });
          const figures = await lifeboat(['backup']);
          rmSync(store, { recursive: true });
          return figures;
        },
      },
    ],
  }));
  const taken = await interleaved(1, () => stages, say);
  return sizes.map((bytes) => alone(taken, nameOf(bytes), nameOf(bytes), {}));
}

function nameOf(bytes: number): string {
  const gibibytes = bytes / 2 ** 30;
  return `backup of ${gibibytes < 1 ? `${bytes / 2 ** 20} MiB` : `${gibibytes} GiB`} that nothing compresses`;
}

/** Bytes that never come again. */
function noiseFrom(seed: string): () => Buffer {
  const secret = createHash('sha512').update(seed).digest();
  const cipher = createCipheriv('aes-256-ctr', secret.subarray(0, 32), secret.subarray(32, 48));
  return () => cipher.update(BLOCK);
}

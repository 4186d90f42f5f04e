// Data to measure with: the same bytes for the same seed, and as compressible as the real thing.

import { createCipheriv, createHash } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';

const WRITE_BYTES = 4 * 1024 * 1024;
/** Enough that none comes twice within a chunk. */
const TAILS = 50_000;
const WORDS = `account address after amount answer back balance before blue box call card case change city claim client
 close code cold copy cost count credit customer day deal deliver door early email empty error every exchange express
 fee field file final first free gift good green hand home hour house invoice item keep key label large last late left
 letter line list local long lost mail main market message missing model money month name need new next night note
 number office old open order owner pack page paid part pay phone place point post price product public question quick
 red refund reply report return right road room sale second send service ship shop short sign size small sold sorry
 spare special stock store street sum ticket time today total track trade type unit urgent value visit voucher wait
 warranty week weight white word work year yellow`.split(/\s+/);
const STATUSES = ['pending', 'paid', 'packed', 'shipped', 'returned', 'refunded'];

/** A dump of an orders table as PostgreSQL writes it: numbers, times, identifiers, addresses, prose, JSON. */
export function writeSqlText(path: string, bytes: number, seed: string): void {
  const random = randomNumbers(seed);
  const tails = Array.from({ length: TAILS }, () => tailOf(random));
  const file = openSync(path, 'w');
  let written = 0;
  for (let id = 1; written < bytes; ) {
    let text = '';
    for (const length = Math.min(WRITE_BYTES, bytes - written); text.length < length; id++) {
      const token = hex(random) + hex(random);
      text += `${id}\t${random() % 500_000}\t${timeOf(id)}\t${random() % 10_000}.${10 + (random() % 90)}\t${token}\t`;
      text += tails[random() % TAILS];
    }
    written += writeSync(file, text, null, 'latin1');
  }
  closeSync(file);
}

/** The same file with so many regions rewritten and grown a little, which together are `share` of it. */
export function writeChanged(
  from: string,
  to: string,
  bytes: number,
  change: { share: number; regions: number },
): void {
  const source = openSync(from, 'r');
  const target = openSync(to, 'w');
  const every = Math.floor(bytes / change.regions);
  const changed = Math.floor((bytes * change.share) / change.regions);
  const block = Buffer.alloc(every);
  for (let at = 0; at < bytes; at += every) {
    const data = block.subarray(0, readSync(source, block, 0, every, at));
    const rewritten = Buffer.from(data.subarray(0, changed).toString('latin1').replaceAll('1', '7'), 'latin1');
    writeSync(target, rewritten);
    writeSync(target, `${at}\tone more row\n`);
    writeSync(target, data, rewritten.length);
  }
  closeSync(source);
  closeSync(target);
}

/** So many small files in folders of a hundred: configuration, letters, pictures; 8 KiB on average. */
export function writeSmallFiles(dir: string, files: number, seed: string): void {
  const random = randomNumbers(seed);
  const lines = Array.from({ length: 5000 }, () => sentence(9, random));
  for (let i = 0; i < files; i++) {
    const path = join(dir, `${Math.floor(i / 100)}`.padStart(4, '0'), `file-${i}.${i % 4 === 0 ? 'bin' : 'txt'}`);
    if (i % 100 === 0) mkdirSync(dirname(path), { recursive: true });
    const bytes = 200 + Math.floor(2 ** (8 + (random() % 7)) * (0.5 + (random() % 1000) / 1000));
    writeFileSync(path, i % 4 === 0 ? noise(bytes, `${seed} ${i}`) : prose(bytes, lines, random));
  }
}

function timeOf(id: number): string {
  const two = (value: number): string => `${value % 60}`.padStart(2, '0');
  const [second, minute, hour] = [id * 7, Math.floor((id * 7) / 60), Math.floor((id * 7) / 3600)];
  return `2026-${two(1 + (Math.floor(hour / 672) % 12))}-${two(1 + (Math.floor(hour / 24) % 28))} ${two(hour % 24)}:${two(minute)}:${two(second)}+00`;
}

/** What follows the token in a row. */
function tailOf(random: () => number): string {
  const status = STATUSES[random() % STATUSES.length];
  const mail = `${WORDS[random() % WORDS.length]}.${random() % 500_000}@example.com`;
  const note = sentence(2 + (random() % 12), random);
  const meta = {
    ip: `10.${random() % 256}.${random() % 256}.${random() % 256}`,
    items: random() % 20,
    gift: random() % 2 > 0,
  };
  return `${status}\t${mail}\t${note}\t${JSON.stringify(meta)}\n`;
}

export function sentence(words: number, random: () => number): string {
  let text = '';
  for (let i = 0; i < words; i++) text += `${WORDS[random() % WORDS.length]} `;
  return text;
}

export function prose(bytes: number, lines: readonly string[], random: () => number): string {
  let text = '';
  while (text.length < bytes) text += `${lines[random() % lines.length]}${random() % 1000}\n`;
  return text.slice(0, bytes);
}

function hex(random: () => number): string {
  return random().toString(16).padStart(8, '0');
}

export function noise(bytes: number, seed: string): Buffer {
  const secret = createHash('sha512').update(seed).digest();
  return createCipheriv('aes-256-ctr', secret.subarray(0, 32), secret.subarray(32, 48)).update(Buffer.alloc(bytes));
}

/** Unsigned 32-bit numbers. */
export function randomNumbers(seed: string): () => number {
  let state = createHash('sha256').update(seed).digest().readUInt32LE() || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>>= 0);
  };
}

// Where each blob lies, for millions of blobs: 48 bytes each in typed arrays and 4 to 8 in the table that finds them.

export interface BlobPlace {
  readonly pack: string; // hex
  readonly tree: boolean;
  readonly offset: number;
  /** Of the sealed blob. */
  readonly length: number;
  /** 0: stored as it is. */
  readonly uncompressedLength: number;
}
export interface PackedBlob {
  readonly id: Uint8Array; // SHA-256 of the plain bytes
  readonly tree: boolean;
  readonly offset: number;
  readonly length: number;
  readonly uncompressedLength: number;
}

export interface BlobIndex {
  /** Entries; a blob that lies in two packs counts twice. Numbers of entries are below it. */
  readonly size: number;
  /** Enters what a pack holds, but for what is known of it already. Ends a `drop`, and never a `forget`. */
  add(pack: string, blobs: readonly PackedBlob[]): void;
  /**
   * A place of the blob, in a forgotten or dropped pack only when there is no other. The same bytes can be a tree and
   * data: `tree` chooses.
   */
  find(id: Uint8Array, tree?: boolean): BlobPlace | undefined;
  /** Whether a pack that was neither forgotten nor dropped has it: if not, it is to be written (again). */
  has(id: Uint8Array, tree?: boolean): boolean;
  /** The number of the entry that `find` would answer with, -1 when there is none. */
  entryOf(id: Uint8Array, tree?: boolean): number;
  idAt(entry: number): Uint8Array;
  placeAt(entry: number): BlobPlace;
  /**
   * The pack is lost or soon will be: its blobs are looked for elsewhere, and written again when they come by. For
   * good, also when the pack is added later.
   */
  forget(pack: string): void;
  /** The same for a pack that no index file names any more, until it is added again. */
  drop(pack: string): void;
  /** Entries of a pack, in the order they were added. */
  entriesOf(pack: string): Iterable<number>;
  /** Over all entries of a pack, without a walk through them. */
  sumsOf(pack: string): PackSums;
}

export interface PackSums {
  readonly blobs: number;
  readonly compressed: number;
  /** Of the sealed blobs. */
  readonly bytes: number;
}

interface Pack {
  readonly hex: string;
  /** Entries come in runs: first entry and number of them, in turn. */
  readonly runs: number[];
  forgotten: boolean;
  dropped: boolean;
  readonly sums: { -readonly [K in keyof PackSums]: PackSums[K] };
}

const NO_SUMS: PackSums = { blobs: 0, compressed: 0, bytes: 0 };

export function blobIndex(): BlobIndex {
  const entries = entryTable();
  const packs: Pack[] = [];
  const packNumbers = new Map<string, number>();

  function packOf(hex: string): Pack | undefined {
    return packs[packNumbers.get(hex) ?? -1];
  }
  function packNumberOf(hex: string): number {
    const known = packNumbers.get(hex);
    if (known !== undefined) return known;
    packs.push({ hex, runs: [], forgotten: false, dropped: false, sums: { ...NO_SUMS } });
    packNumbers.set(hex, packs.length - 1);
    return packs.length - 1;
  }
  function entryIn(id: Uint8Array, tree: boolean | undefined, gone: boolean): number {
    return entries.find(id, (number, isTree) => {
      const pack = packs[number];
      return (pack?.forgotten || pack?.dropped) === gone && (tree === undefined || tree === isTree);
    });
  }
  function entryOf(id: Uint8Array, tree?: boolean): number {
    const entry = entryIn(id, tree, false);
    return entry < 0 ? entryIn(id, tree, true) : entry;
  }
  function placeAt(entry: number): BlobPlace {
    const { pack, tree, offset, length, uncompressedLength } = entries.at(entry);
    return { pack: packs[pack]?.hex ?? '', tree, offset, length, uncompressedLength };
  }

  return {
    get size() {
      return entries.size();
    },
    add(hex, blobs) {
      const number = packNumberOf(hex);
      const pack = packs[number];
      if (!pack) throw new RangeError(`there is no pack ${number}`);
      const known = pack.runs.length > 0;
      const before = entries.size();
      pack.dropped = false;
      for (const blob of blobs) {
        const twice = known && entries.find(blob.id, (other, tree) => other === number && tree === blob.tree) >= 0;
        if (twice) continue;
        entries.append(number, blob);
        pack.sums.blobs += 1;
        pack.sums.compressed += blob.uncompressedLength > 0 ? 1 : 0;
        pack.sums.bytes += blob.length;
      }
      if (entries.size() > before) pack.runs.push(before, entries.size() - before);
    },
    entryOf,
    placeAt,
    find(id, tree) {
      const entry = entryOf(id, tree);
      return entry < 0 ? undefined : placeAt(entry);
    },
    has: (id, tree) => entryIn(id, tree, false) >= 0,
    idAt: (entry) => entries.idAt(entry),
    forget(hex) {
      const pack = packs[packNumberOf(hex)];
      if (pack) pack.forgotten = true;
    },
    drop(hex) {
      const pack = packOf(hex);
      if (pack) pack.dropped = true;
    },
    sumsOf: (hex) => packOf(hex)?.sums ?? NO_SUMS,
    *entriesOf(hex) {
      const runs = packOf(hex)?.runs ?? [];
      for (let i = 0; i < runs.length; i += 2) {
        const first = runs[i] ?? 0;
        for (let entry = first; entry < first + (runs[i + 1] ?? 0); entry++) yield entry;
      }
    },
  };
}

interface EntryTable {
  size(): number;
  append(pack: number, blob: PackedBlob): void;
  /** The first entry of this id that `wanted` agrees to, or -1. */
  find(id: Uint8Array, wanted: (pack: number, tree: boolean) => boolean): number;
  idAt(entry: number): Uint8Array;
  at(entry: number): Omit<BlobPlace, 'pack'> & { pack: number };
}

const SEGMENT_ENTRIES = 16_384;
/** Enough for 40 000 entries: to enter them anew in a larger table takes a short command longer than all the rest. */
const SLOTS_MIN = 1 << 16;
const ID_WORDS = 8;
const ENTRY_WORDS = ID_WORDS + 4; // pack and kind, offset, length, uncompressed length

/** Entries in segments, so that growing copies none of them, and an open hash table of their numbers. */
function entryTable(): EntryTable {
  const segments: Uint32Array[] = [];
  /** An id as it lies in the arrays: in this machine's byte order, which never leaves it. */
  const probed = new Uint32Array(ID_WORDS);
  const probedBytes = new Uint8Array(probed.buffer);
  let size = 0;
  let slots = new Uint32Array(SLOTS_MIN); // entry + 1

  function segmentOf(entry: number): Uint32Array {
    const segment = segments[Math.floor(entry / SEGMENT_ENTRIES)];
    if (!segment) throw new RangeError(`there is no entry ${entry}`);
    return segment;
  }
  const startOf = (entry: number): number => (entry % SEGMENT_ENTRIES) * ENTRY_WORDS;

  function isProbed(entry: number): boolean {
    const segment = segmentOf(entry);
    const at = startOf(entry);
    for (let i = 0; i < ID_WORDS; i++) if (segment[at + i] !== probed[i]) return false;
    return true;
  }
  function enter(firstWord: number, entry: number): void {
    const mask = slots.length - 1;
    let slot = firstWord & mask; // ids are hashes already
    while (slots[slot] !== 0) slot = (slot + 1) & mask;
    slots[slot] = entry + 1;
  }
  function grow(): void {
    slots = new Uint32Array(slots.length * 2);
    for (let entry = 0; entry < size; entry++) enter(segmentOf(entry)[startOf(entry)] ?? 0, entry);
  }

  return {
    size: () => size,
    append(pack, { id, tree, offset, length, uncompressedLength }) {
      if (size * 3 > slots.length * 2) grow();
      if (size % SEGMENT_ENTRIES === 0) segments.push(new Uint32Array(SEGMENT_ENTRIES * ENTRY_WORDS));
      probedBytes.set(id);
      const segment = segmentOf(size);
      segment.set(probed, startOf(size));
      const at = startOf(size) + ID_WORDS;
      segment[at] = pack * 2 + (tree ? 1 : 0);
      segment[at + 1] = offset;
      segment[at + 2] = length;
      segment[at + 3] = uncompressedLength;
      enter(probed[0] ?? 0, size);
      size += 1;
    },
    find(id, wanted) {
      probedBytes.set(id);
      const mask = slots.length - 1;
      for (let slot = (probed[0] ?? 0) & mask; ; slot = (slot + 1) & mask) {
        const entry = (slots[slot] ?? 0) - 1;
        if (entry < 0) return -1;
        if (!isProbed(entry)) continue;
        const word = segmentOf(entry)[startOf(entry) + ID_WORDS] ?? 0;
        if (wanted(word >>> 1, (word & 1) === 1)) return entry;
      }
    },
    idAt: (entry) => Buffer.copyBytesFrom(segmentOf(entry), startOf(entry), ID_WORDS),
    at(entry) {
      const segment = segmentOf(entry);
      const at = startOf(entry) + ID_WORDS;
      const word = segment[at] ?? 0;
      return {
        pack: word >>> 1,
        tree: (word & 1) === 1,
        offset: segment[at + 1] ?? 0,
        length: segment[at + 2] ?? 0,
        uncompressedLength: segment[at + 3] ?? 0,
      };
    },
  };
}

// CRC-64 as Redis computes it (polynomial "Jones", reflected), eight bytes a step. Two 32-bit halves, because a
// BigInt per byte would be a hundred times slower.

const POLYNOMIAL = 0x95ac9329ac4bc9b5n;
const SLICES = 8;
const { low: LOW, high: HIGH } = tables();

/** A running sum. Starts at zero. */
export interface Crc64 {
  low: number;
  high: number;
}

export function crc64Update(crc: Crc64, view: DataView, from: number, to: number): void {
  let { low, high } = crc;
  let at = from;
  for (; at + SLICES <= to; at += SLICES) {
    const a = low ^ view.getInt32(at, true);
    const b = high ^ view.getInt32(at + 4, true);
    const i0 = 0x700 | (a & 255);
    const i1 = 0x600 | ((a >>> 8) & 255);
    const i2 = 0x500 | ((a >>> 16) & 255);
    const i3 = 0x400 | (a >>> 24);
    const i4 = 0x300 | (b & 255);
    const i5 = 0x200 | ((b >>> 8) & 255);
    const i6 = 0x100 | ((b >>> 16) & 255);
    const i7 = b >>> 24;
    low = word(LOW, i0) ^ word(LOW, i1) ^ word(LOW, i2) ^ word(LOW, i3);
    low ^= word(LOW, i4) ^ word(LOW, i5) ^ word(LOW, i6) ^ word(LOW, i7);
    high = word(HIGH, i0) ^ word(HIGH, i1) ^ word(HIGH, i2) ^ word(HIGH, i3);
    high ^= word(HIGH, i4) ^ word(HIGH, i5) ^ word(HIGH, i6) ^ word(HIGH, i7);
  }
  for (; at < to; at++) {
    const index = (low ^ view.getUint8(at)) & 255;
    low = ((low >>> 8) | (high << 24)) ^ word(LOW, index);
    high = (high >>> 8) ^ word(HIGH, index);
  }
  crc.low = low;
  crc.high = high;
}

/** The sum of a whole buffer as the eight bytes that Redis writes. */
export function crc64Of(bytes: Buffer): Buffer {
  const crc: Crc64 = { low: 0, high: 0 };
  crc64Update(crc, new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0, bytes.length);
  const sum = Buffer.alloc(8);
  sum.writeInt32LE(crc.low | 0, 0);
  sum.writeInt32LE(crc.high | 0, 4);
  return sum;
}

function word(table: Int32Array, index: number): number {
  return table[index] as number; // always inside: eight tables of 256
}

function tables(): { low: Int32Array; high: Int32Array } {
  const low = new Int32Array(SLICES * 256);
  const high = new Int32Array(SLICES * 256);
  const first: bigint[] = [];
  for (let byte = 0n; byte < 256n; byte++) {
    let sum = byte;
    for (let bit = 0; bit < 8; bit++) sum = sum & 1n ? POLYNOMIAL ^ (sum >> 1n) : sum >> 1n;
    first.push(sum);
  }
  for (const [byte, start] of first.entries()) {
    let sum = start;
    for (let slice = 0; slice < SLICES; slice++) {
      low[slice * 256 + byte] = Number(BigInt.asIntN(32, sum));
      high[slice * 256 + byte] = Number(BigInt.asIntN(32, sum >> 32n));
      sum = (first[Number(sum & 255n)] ?? 0n) ^ (sum >> 8n);
    }
  }
  return { low, high };
}

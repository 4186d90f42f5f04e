// Whether a file system is one that answers. What is asked of another one at once may stop the whole process.

import type { PathLike } from 'node:fs';
import { statfs } from 'node:fs/promises';

/** As Linux numbers them; other systems have other numbers, so that they have no local disks. */
const LOCAL: ReadonlySet<number> = new Set([
  0xef53, // ext2, ext3, ext4
  0x58465342, // XFS
  0x9123683e, // Btrfs
  0x2fc12fc1, // ZFS
  0xf2f52010, // F2FS
  0xca451a4e, // bcachefs
  0x01021994, // tmpfs
  0x794c7630, // overlay, of containers
]);

/** False as well when it can't be told. Network file systems and those of other processes (FUSE) may hang. */
export async function isLocalDisk(path: PathLike): Promise<boolean> {
  try {
    return LOCAL.has((await statfs(path)).type);
  } catch {
    return false; // who looks at the path next meets it again, and tells
  }
}

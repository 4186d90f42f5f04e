// What is asked of a ZooKeeper and what it answers: the requests that Lifeboat needs, of its stable wire protocol.

import { type JuteReader, juteReader, juteWriter } from './jute.ts';

export const OP = {
  create: 1,
  delete: 2,
  exists: 3,
  getData: 4,
  setData: 5,
  getAcl: 6,
  setAcl: 7,
  sync: 9,
  getChildren2: 12,
  ping: 11,
  multi: 14,
  createContainer: 19,
  createTtl: 21,
  auth: 100,
  addWatch: 106,
  whoAmI: 107,
  closeSession: -11,
} as const;
export type Op = keyof typeof OP;

export const XID_EVENT = -1;
export const XID_PING = -2;
export const XID_AUTH = -4;

export const REFUSED = {
  unimplemented: -6,
  badArguments: -8,
  noNode: -101,
  noAuth: -102,
  nodeExists: -110,
  notEmpty: -111,
  invalidAcl: -114,
  authFailed: -115,
  quota: -125,
} as const;
const WORDS: ReadonlyMap<number, string> = new Map([
  [-2, 'the ensemble is inconsistent'],
  [-4, 'the connection was lost'],
  [-6, 'it does not know this request'],
  [-7, 'the operation timed out'],
  [-8, 'it takes the arguments for wrong'],
  [-101, 'no such znode'],
  [-102, 'not allowed (no permission in the ACL)'],
  [-103, 'another version'],
  [-108, 'ephemeral znodes have no children'],
  [-110, 'the znode exists'],
  [-111, 'the znode has children'],
  [-112, 'the session has expired'],
  [-114, 'it does not take this ACL'],
  [-115, 'the authentication failed'],
  [-118, 'the session has moved'],
  [-119, 'it is read-only: the ensemble has no quorum'],
  [-124, 'clients must sign in (SASL)'],
  [-125, 'a quota is exceeded'],
  [-127, 'it is overloaded'],
]);
export function wordsFor(error: number): string {
  return WORDS.get(error) ?? `error ${error}`;
}

export interface Acl {
  readonly perms: number;
  readonly scheme: string;
  readonly id: string;
}
export const OPEN_ACL: readonly Acl[] = [{ perms: 31, scheme: 'world', id: 'anyone' }];
/** Everything, for whoever the session is. */
export const CREATOR_ACL: readonly Acl[] = [{ perms: 31, scheme: 'auth', id: '' }];

export interface Stat {
  readonly mzxid: bigint;
  readonly pzxid: bigint;
  readonly modifiedMs: number;
  readonly version: number;
  readonly cversion: number;
  readonly aversion: number;
  /** The session that it ends with; 0 for what stays. Of containers and those with a time to live no client is told. */
  readonly owner: bigint;
  readonly dataLength: number;
  readonly children: number;
}

/** No date lies behind it. */
const LATEST_MS = 8.64e15;

export function readStat(reader: JuteReader): Stat {
  reader.long(); // the zxid that made it
  const mzxid = reader.long();
  reader.long(); // when that was
  const modifiedMs = Math.min(Number(reader.long()), LATEST_MS);
  const [version, cversion, aversion] = [reader.int(), reader.int(), reader.int()];
  const owner = reader.long();
  const [dataLength, children] = [reader.int(), reader.int()];
  return { mzxid, pzxid: reader.long(), modifiedMs, version, cversion, aversion, owner, dataLength, children };
}

/**
 * What the next sequential child is numbered with: how many were ever created. A server tells creations and deletions
 * together.
 */
export function counterOf({ cversion, children }: Stat): number {
  return (cversion + children) / 2;
}

export function readAcl(reader: JuteReader): Acl[] {
  return reader.list(() => ({ perms: reader.int(), scheme: reader.text(), id: reader.text() }));
}

const FLAGS = { persistent: 0, ephemeral: 1, sequential: 2 } as const;
export type NodeKind = keyof typeof FLAGS;

export const request = {
  path: (path: string): Buffer => juteWriter().text(path).done(),
  /** Reads of a znode; without a watch of the old kind. */
  read: (path: string): Buffer => juteWriter().text(path).bool(false).done(),
  create(path: string, data: Uint8Array | null, acl: readonly Acl[], kind: NodeKind = 'persistent'): Buffer {
    const writer = juteWriter().text(path).bytes(data);
    putAcl(writer, acl);
    return writer.int(FLAGS[kind]).done();
  },
  setData: (path: string, data: Uint8Array | null): Buffer => juteWriter().text(path).bytes(data).int(-1).done(),
  setAcl(path: string, acl: readonly Acl[]): Buffer {
    const writer = juteWriter().text(path);
    putAcl(writer, acl);
    return writer.int(-1).done();
  },
  delete: (path: string): Buffer => juteWriter().text(path).int(-1).done(),
  auth: (scheme: string, secret: string): Buffer => juteWriter().int(0).text(scheme).bytes(Buffer.from(secret)).done(),
  /** Of a znode and everything below it, until the session ends. */
  addWatch: (path: string): Buffer => juteWriter().text(path).int(1).done(),
  multi(steps: readonly { readonly op: 'create' | 'delete' | 'setData'; readonly body: Buffer }[]): Buffer {
    const parts = steps.flatMap(({ op, body }) => [juteWriter().int(OP[op]).bool(false).int(-1).done(), body]);
    return Buffer.concat([...parts, juteWriter().int(-1).bool(true).int(-1).done()]);
  },
  connect: (timeoutMs: number): Buffer =>
    juteWriter().int(0).long(0n).int(timeoutMs).long(0n).bytes(Buffer.alloc(16)).bool(false).done(),
};

/** The session's time-out that the server grants; 0 or less when it gives none. */
export function grantedMs(frame: Buffer): number {
  const reader = juteReader(frame);
  reader.int();
  return reader.int();
}

function putAcl(writer: ReturnType<typeof juteWriter>, acl: readonly Acl[]): void {
  writer.int(acl.length);
  for (const { perms, scheme, id } of acl) writer.int(perms).text(scheme).text(id);
}

const LETTERS = ['r', 'w', 'c', 'd', 'a'];
const WRITTEN: readonly string[] = Array.from({ length: 1 << LETTERS.length }, (_, perms) =>
  ['c', 'd', 'r', 'w', 'a'].filter((letter) => perms & (1 << LETTERS.indexOf(letter))).join(''),
);

/** 'world:anyone:cdrwa', as ZooKeeper's own tools write it. */
export function aclText({ perms, scheme, id }: Acl): string {
  return `${scheme}:${id}:${WRITTEN[perms & 31]}`;
}

/** A server shows the hashes of passwords to those only who may change the ACL. */
export function isMasked(acl: readonly Acl[]): boolean {
  return acl.some(({ scheme, id }) => scheme === 'digest' && id.endsWith(':x'));
}

/** Null for what is none. An id may hold colons. */
export function aclFrom(text: string): Acl | null {
  const [, scheme, id, letters] = /^([^:]*):(.*):([cdrwa]*)$/s.exec(text) ?? [];
  if (scheme === undefined || id === undefined || letters === undefined) return null;
  let perms = 0;
  for (const letter of letters) perms |= 1 << LETTERS.indexOf(letter);
  return { perms, scheme, id };
}

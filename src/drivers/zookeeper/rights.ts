// What the user of the component may do, as far as ACLs tell.

import { createHash } from 'node:crypto';
import type { Client } from './client.ts';
import type { Acl } from './protocol.ts';
import type { Settings } from './settings.ts';

const ALL = 31;
/** All of it, in the order that ZooKeeper's tools write it in. */
const RIGHTS = [
  { letter: 'c', bit: 4 },
  { letter: 'd', bit: 8 },
  { letter: 'r', bit: 1 },
  { letter: 'w', bit: 2 },
  { letter: 'a', bit: 16 },
];

export interface Identity {
  readonly scheme: string;
  readonly id: string;
}

/** Who the server takes us for. Servers before 3.7 don't say it: then it is what ACLs would name us as. */
export async function identitiesOf(client: Client, { user }: Settings): Promise<readonly Identity[]> {
  const known: Identity[] = [{ scheme: 'world', id: 'anyone' }];
  if (user !== null) {
    const hash = createHash('sha1').update(`${user.name}:${user.password}`).digest('base64');
    known.push({ scheme: 'digest', id: `${user.name}:${hash}` });
  }
  const { error, body } = await client.ask('whoAmI', Buffer.alloc(0));
  if (error !== 0) return known;
  // Of a digest it tells the name without the hash.
  const told = body.list(() => ({ scheme: body.text(), id: body.text() })).filter(({ scheme }) => scheme !== 'digest');
  return [...known, ...told];
}

/** The letters of the rights that we lack there; '' when there are none. */
export function lacking(acl: readonly Acl[], identities: readonly Identity[]): string {
  const isSuper = identities.some(({ scheme }) => scheme === 'super');
  let perms = isSuper ? ALL : 0;
  for (const each of acl) {
    if (identities.some(({ scheme, id }) => scheme === each.scheme && id === each.id)) perms |= each.perms;
  }
  return RIGHTS.filter(({ bit }) => (perms & bit) === 0)
    .map(({ letter }) => letter)
    .join('');
}

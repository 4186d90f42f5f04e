import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { liveContext } from '../../core/testing.ts';
import { conninfo, databaseOfPart, databasePart, ident, literal } from './names.ts';
import { passwordFor, passwordIn } from './passfile.ts';
import { retargeted, serverOf } from './settings.ts';

describe('settings of postgresql', () => {
  it('a URL says the same as the fields', () => {
    const url = 'postgresql://back%20up:p%40ss@db.internal:6543/a%2Fb?sslmode=verify-full&sslrootcert=/ca.crt';
    const fields = { host: 'db.internal', port: 6543, user: 'back up', password: 'p@ss', databases: ['a/b'] };
    const tls = { mode: 'verify-full', ca: '/ca.crt' };
    assert.deepEqual(serverOf({ url }), serverOf({ ...fields, tls }));
    assert.equal(serverOf({ url: 'postgres://[::1]/x' }).host, '::1');
    assert.equal(serverOf({ url: 'postgres:///x?host=/var/run/postgresql' }).host, '/var/run/postgresql');
  });

  it('fields beat the URL', () => {
    const server = serverOf({ url: 'postgresql://u@h/x', user: 'other', databases: 'all' });
    assert.deepEqual([server.user, server.databases], ['other', 'all']);
  });

  it('encryption is checked as soon as there is something to check against', () => {
    assert.equal(serverOf({ host: 'h' }).tls.mode, 'prefer');
    assert.equal(serverOf({ host: 'h', tls: { ca: '/ca.crt' } }).tls.mode, 'verify-full');
  });

  it('what must be encrypted is checked too where there is something to check against, as libpq does', () => {
    const url = 'postgresql://h/x?sslmode=require&sslrootcert=/ca.crt';
    assert.equal(serverOf({ url }).tls.mode, 'verify-ca');
    assert.equal(serverOf({ host: 'h', tls: { mode: 'require', ca: '/ca.crt' } }).tls.mode, 'verify-ca');
    assert.equal(serverOf({ host: 'h', tls: { mode: 'require' } }).tls.mode, 'require');
    assert.equal(serverOf({ host: 'h', tls: { mode: 'prefer', ca: '/ca.crt' } }).tls.mode, 'prefer');
  });

  it('another target is encrypted and checked as the component is, unless its URL tells otherwise', () => {
    const tls = { mode: 'verify-full', ca: '/ca.crt', cert: '/me.crt', key: '/me.key' };
    const settings = { host: 'h', user: 'u', tls };
    assert.deepEqual(serverOf(retargeted(settings, 'postgresql://other')).tls, tls);
    const inUrl = { url: 'postgresql://u@h/x?sslmode=verify-ca&sslrootcert=/ca.crt' };
    assert.deepEqual(serverOf(retargeted(inUrl, 'postgresql://other')).tls.mode, 'verify-ca');
    assert.equal(serverOf(retargeted(inUrl, 'postgresql://other')).tls.ca, '/ca.crt');
    const another = serverOf(retargeted(settings, 'postgresql://v@other?sslrootcert=/other.crt')).tls;
    assert.deepEqual(another, { mode: 'verify-full', ca: '/other.crt', cert: null, key: null });
    assert.equal(serverOf(retargeted(settings, 'postgresql://other?sslmode=disable')).tls.mode, 'disable');
    assert.equal(serverOf(retargeted({ host: 'h' }, 'postgresql://other?sslrootcert=/c')).tls.mode, 'verify-full');
  });

  it('what is wrong is named, and never with the password', () => {
    const WRONG: readonly [unknown, RegExp][] = [
      [{ user: 'x' }, /neither url nor host/],
      [{ url: 'mysql://u:secret@h/x' }, /does not begin with postgresql/],
      [{ url: 'postgresql://u:secret@h:99999/x' }, /can not be read/],
      [{ url: 'postgresql://u:secret@h/x?sslmod=require' }, /unknown parameter sslmod$/],
      [{ url: 'postgresql://u:secret@h/x?sslmode=yes' }, /unknown sslmode yes/],
      [{ host: 'h', databases: [] }, /databases/],
      [{ host: 'h', capture: ['files'] }, /capture/],
      [{ host: 'h', capture: [] }, /capture/],
      [{ host: 'h', lock_timeout: 'soon' }, /lock_timeout.*duration/],
    ];
    for (const [settings, message] of WRONG) {
      assert.throws(
        () => serverOf(settings),
        (error: Error & { code?: string }) => {
          assert.equal(error.code, 'settings-invalid');
          assert.match(error.message, message);
          assert.doesNotMatch(`${error.message}${error.stack}`, /secret/);
          return true;
        },
      );
    }
  });

  it('another target keeps who connects and what is meant, unless its URL tells otherwise', () => {
    const settings = { url: 'postgresql://u:p@h/shop', inventory: 'counts', tls: { mode: 'require' } };
    const elsewhere = serverOf(retargeted(settings, 'postgresql://other:7000'));
    assert.deepEqual(
      [elsewhere.host, elsewhere.port, elsewhere.user, elsewhere.password, elsewhere.databases, elsewhere.inventory],
      ['other', 7000, 'u', 'p', ['shop'], 'counts'],
    );
    const renamed = serverOf(retargeted(settings, 'postgresql://v:q@other/copy'));
    assert.deepEqual([renamed.user, renamed.password, renamed.databases], ['v', 'q', ['copy']]);
    assert.deepEqual(serverOf(retargeted({ host: 'h', databases: 'all' }, 'postgresql://other')).databases, 'all');
    const several = { host: 'h', databases: ['a', 'b'] };
    assert.throws(() => retargeted(several, 'postgresql://other/c'), { code: 'settings-invalid' });
  });
});

describe('the password file', () => {
  const wanted = ['db', '5432', 'shop', 'me'];
  it('is read as libpq reads it', () => {
    const FILES: readonly [string, string | null][] = [
      ['db:5432:shop:me:secret', 'secret'],
      ['*:*:*:me:secret', 'secret'],
      ['# db:5432:shop:me:no\nother:*:*:*:no\ndb:*:*:*:first\ndb:*:*:*:second', 'first'],
      ['db:5432:shop:me:with\\:colon and \\\\', 'with:colon and \\'],
      ['db:5432:shop:you:no', null],
      ['', null],
    ];
    for (const [text, password] of FILES) assert.equal(passwordIn(text, wanted), password, text);
    assert.equal(passwordIn('a\\:b:5432:shop:me:x', ['a:b', '5432', 'shop', 'me']), 'x');
  });

  it('comes after the settings and the environment, and is refused when others can read it', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'lifeboat-pgpass-'));
    try {
      const path = join(dir, 'pass');
      await writeFile(path, '*:*:*:*:of the file', { mode: 0o600 });
      const server = serverOf({ host: 'db' });
      const fromFile = liveContext({ env: { PGPASSFILE: path } });
      assert.equal(await passwordFor(fromFile, server, 'shop'), 'of the file');
      const both = liveContext({ env: { PGPASSFILE: path, PGPASSWORD: 'of the environment' } });
      assert.equal(await passwordFor(both, server, 'shop'), 'of the environment');
      assert.equal(await passwordFor(both, { ...server, password: 'of the settings' }, 'shop'), 'of the settings');
      assert.equal(await passwordFor(liveContext({ env: { HOME: dir } }), server, 'shop'), null);
      await chmod(path, 0o644);
      await assert.rejects(passwordFor(fromFile, server, 'shop'), { code: 'denied', hint: /chmod 600/ });
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  });
});

describe('names', () => {
  it('any name of a database becomes one lawful part, and back', () => {
    const name = fc.string({ minLength: 1, maxLength: 63, unit: 'grapheme' });
    fc.assert(
      fc.property(name, (database) => {
        const part = databasePart(database, '.dump');
        assert.match(part, /^databases\/[^/\p{Cc}]+\.dump$/u);
        assert.equal(databaseOfPart(part, '.dump'), database);
      }),
    );
    assert.equal(databasePart('..', '.dump'), 'databases/...dump');
  });

  it('are quoted for SQL and for connection strings', () => {
    assert.equal(ident('orders'), 'orders');
    assert.equal(ident('Odd "name"'), '"Odd ""name"""');
    assert.equal(literal("it's"), "'it''s'");
    assert.equal(literal('a\\b'), "E'a\\\\b'");
    assert.equal(conninfo("host=evil '\\"), "dbname='host=evil \\'\\\\'");
  });
});

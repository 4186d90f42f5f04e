import assert from 'node:assert/strict';
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { missing } from '../../../../test/servers/need.ts';
import { startPostgres } from '../../../../test/servers/postgres.ts';
import { sleep } from '../../../core/context.ts';
import { liveContext } from '../../../core/testing.ts';
import { openReplication } from '../physical/replication.ts';
import { physicalOf } from '../physical/testing.ts';
import { serverOf } from '../settings.ts';
import { sql } from '../testing.ts';
import { streamWal } from './stream.ts';
import { endOf } from './testing.ts';

/** What the sockets hold at least, once the server had time to send it. */
const LYING_BYTES = 1024 * 1024;
const SENT_MS = 2000;
/** As many as two pieces that come at once may leave between them; where each is waited behind there are sixteen. */
const WAITS_MAX = 4;
const MANY = 'create table many as select g, repeat(md5(g::text), 20) as text from generate_series(1, 10000) g';

for (const isEncrypted of [false, true]) {
  test(`what lies there of a log is read without a pause${isEncrypted ? ', encrypted, too' : ''}`, {
    skip: await missing('postgres-15'),
  }, async () => {
    await using server = await startPostgres(15, { tls: isEncrypted, conf: { wal_keep_size: '1GB' } });
    await server.stop();
    appendFileSync(join(server.dir, 'pg_hba.conf'), 'host all all 127.0.0.1/32 scram-sha-256\n'); // of the test itself
    await server.start();
    const from = await endOf(server);
    await sql(server, 'postgres', MANY);
    let waits = 0;
    const ctx = liveContext({
      async sleep(ms) {
        waits += 1;
        await sleep.call(this, ms);
      },
    });
    const tls = isEncrypted ? { mode: 'verify-ca', ca: server.caFile } : {};
    await using connection = await openReplication(ctx, serverOf(physicalOf(server, { tls })));
    const stream = streamWal(connection, { slot: null, timeline: 1, from });
    await liveContext().sleep(SENT_MS);
    for (let bytes = 0; bytes < LYING_BYTES; ) {
      const message = await stream.next();
      if (message.kind !== 'log') continue;
      for (let piece = await message.piece(); piece; piece = await message.piece()) bytes += piece.length;
    }
    assert.ok(waits <= WAITS_MAX, `${waits} pauses`);
  });
}

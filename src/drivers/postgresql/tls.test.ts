import assert from 'node:assert/strict';
import { it } from 'node:test';
import { missing } from '../../../test/servers/need.ts';
import { startPostgres } from '../../../test/servers/postgres.ts';
import { liveContext } from '../../core/testing.ts';
import { captureOf, settingsFor } from './testing.ts';

it('a connection is as safe as the settings ask for, in queries and in programs', {
  skip: await missing('postgres-15'),
}, async () => {
  await using server = await startPostgres(15, { tls: true });
  await using other = await startPostgres(15, { tls: true });
  assert.ok(server.caFile && other.caFile);
  const capture = async (tls: Record<string, unknown>, host = server.host) =>
    await captureOf(liveContext(), settingsFor(server, { host, databases: ['postgres'], tls }));
  for (const mode of ['prefer', 'require']) await capture({ mode });
  for (const mode of ['verify-ca', 'verify-full']) await capture({ mode, ca: server.caFile });
  await capture({ ca: server.caFile });
  // Somebody else's certificate, and none at all.
  await assert.rejects(capture({ ca: other.caFile }), { code: 'unreachable' });
  await assert.rejects(capture({ mode: 'verify-ca', ca: other.caFile }), { code: 'unreachable' });
  await capture({ mode: 'require', ca: server.caFile });
  await assert.rejects(capture({ mode: 'require', ca: other.caFile }), { code: 'unreachable' });
  await assert.rejects(capture({ mode: 'disable' }), { code: 'denied', hint: /pg_hba/ });
  await assert.rejects(capture({ ca: '/no/such/file' }), { code: 'settings-invalid', message: /no\/such\/file/ });
  await assert.rejects(captureOf(liveContext(), settingsFor(server, { password: 'wrong' })), {
    code: 'wrong-password',
  });
});

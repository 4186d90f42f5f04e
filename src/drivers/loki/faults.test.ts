import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { describe, it } from 'node:test';
import { startLoki } from '../../../test/servers/loki.ts';
import { missing } from '../../../test/servers/need.ts';
import type { Sink } from '../../core/model.ts';
import { liveContext, memoryParts } from '../../core/testing.ts';
import { lokiDriver } from './driver.ts';
import { captured, place, verdictOf } from './stage-testing.ts';
import { fill } from './testing.ts';

const skip = await missing('loki-3');
describe('the lines of a Loki', { skip }, () => {
  it('come although the way to the server is bad (faults 12, 13 and 15)', async () => {
    const at = await place();
    const target = await place();
    await fill(at);
    await using proxy = await badWayTo(at.url);
    const ctx = liveContext({ sleep: async () => {} }); // how long it waits is no matter here
    const source = memoryParts();
    const by = { url: proxy.url, timeout: '3s' };
    await lokiDriver.open({ ...at, ...by }).capture(ctx, source.sink);
    const { missing: left } = await lokiDriver.open({ ...target, ...by }).restore(ctx, { base: source.source });
    assert.deepEqual(left, []);
    assert.equal(await verdictOf(source.source, target), 'pass');
    assert.ok(proxy.spoilt() >= 12);
  });

  it('are not asked for, nor pushed, any more once it is stopped', async () => {
    const at = await place();
    await fill(at);
    const source = await captured(at);
    const stop = new AbortController();
    const ctx = liveContext({ signal: stop.signal, progress: () => stop.abort() });
    await assert.rejects(lokiDriver.open(await place()).restore(ctx, { base: source }), { code: 'interrupted' });
    const { sink } = memoryParts();
    await assert.rejects(lokiDriver.open(at).capture(ctx, sink), { code: 'interrupted' });
  });

  it('fail the capture when the server dies in the middle', async () => {
    await using dying = await startLoki();
    await fill({ url: dying.url });
    const killing = (sink: Sink): Sink => ({
      ...sink,
      async put(...args) {
        await dying.kill();
        return await sink.put(...args);
      },
    });
    await assert.rejects(captured({ url: dying.url, since: '2d' }, undefined, killing), { code: 'unreachable' });
  });
});

interface BadWay extends AsyncDisposable {
  readonly url: string;
  spoilt(): number;
}

/**
 * Every third request is answered with 503 or 429, not at all, in part, too late, or after it was passed on, so that
 * nobody knows whether it was taken.
 */
async function badWayTo(url: string): Promise<BadWay> {
  let requests = 0;
  let spoilt = 0;
  const server = createServer(async (request, response) => {
    const body = Buffer.concat(await Array.fromAsync(request));
    const way = ++requests % 3 === 0 ? (['503', '429', 'cut', 'half', 'late', 'lost'] as const)[spoilt++ % 6] : 'good';
    if (way === '503' || way === '429') return void response.writeHead(Number(way)).end('busy');
    if (way === 'cut') return void request.socket.destroy();
    if (way === 'late') return; // for good: it is cut by who asked
    const { host: _host, connection: _connection, 'content-length': _length, ...headers } = request.headers;
    const passed = await fetch(`${url}${request.url}`, {
      method: request.method ?? 'GET',
      headers: headers as Record<string, string>,
      ...(body.length > 0 ? { body } : {}),
    });
    const answer = Buffer.from(await passed.arrayBuffer());
    if (way === 'lost') return void request.socket.destroy();
    response.writeHead(passed.status, { 'content-length': answer.length });
    if (way !== 'half' || answer.length < 2) return void response.end(answer);
    response.write(answer.subarray(0, answer.length >> 1), () => request.socket.destroy());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  return {
    url: `http://127.0.0.1:${port}`,
    spoilt: () => spoilt,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
    },
  };
}

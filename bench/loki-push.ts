// node bench/loki-push.ts URL TENANT FILE: pushes what logcli has written, a thousand lines at a time, as a script that
// somebody writes in an emergency would. Structured metadata is lost.

import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';

const PUSH_LINES = 1000;
/** What logcli gives among the labels and is none: each line would become a stream of its own. */
const ADDED = ['detected_level', 'trace_id'];
const [url = '', tenant = '', file = ''] = process.argv.slice(2);

let streams = new Map<string, { stream: unknown; values: string[][] }>();
let held = 0;
for await (const text of createInterface({ input: createReadStream(file) })) {
  const { labels, line, timestamp } = JSON.parse(text) as { labels: object; line: string; timestamp: string };
  const key = JSON.stringify(labels, (name, value) => (ADDED.includes(name) ? undefined : value));
  const its = streams.get(key) ?? { stream: JSON.parse(key) as unknown, values: [] };
  streams.set(key, its);
  its.values.push([nanoseconds(timestamp), line]);
  held += 1;
  if (held >= PUSH_LINES) await push();
}
if (held > 0) await push();

async function push(): Promise<void> {
  const headers = { 'content-type': 'application/json', 'x-scope-orgid': tenant };
  const body = JSON.stringify({ streams: [...streams.values()] });
  const answer = await fetch(`${url}/loki/api/v1/push`, { method: 'POST', headers, body });
  if (answer.status !== 204) throw new Error(`push: ${answer.status} ${await answer.text()}`);
  streams = new Map();
  held = 0;
}

/** '2026-11-21T02:00:00.123456789Z' as nanoseconds since 1970. */
function nanoseconds(timestamp: string): string {
  const [, whole = '', fraction = ''] = /^([^.Z+]*)\.?(\d*)/.exec(timestamp) ?? [];
  const zone = timestamp.slice(whole.length + (fraction === '' ? 0 : fraction.length + 1));
  return `${BigInt(Date.parse(`${whole}${zone}`)) * 1_000_000n + BigInt(fraction.padEnd(9, '0'))}`;
}

// Data for tests: several streams and days, structured metadata, many lines at one nanosecond.

export interface Place {
  readonly url: string;
  readonly tenant?: string;
}
export interface Pushed {
  readonly stream: Readonly<Record<string, string>>;
  readonly values: readonly (readonly [string, string, Readonly<Record<string, string>>?])[];
}

const now = BigInt(Date.now()) * 1_000_000n;

export function nsAgo(ms: number, more = 0): string {
  return `${now - BigInt(ms) * 1_000_000n + BigInt(more)}`;
}

export async function push({ url, tenant }: Place, streams: readonly Pushed[]): Promise<void> {
  const headers = { 'content-type': 'application/json', ...(tenant === undefined ? {} : { 'x-scope-orgid': tenant }) };
  const body = JSON.stringify({ streams });
  const answer = await fetch(`${url}/loki/api/v1/push`, { method: 'POST', headers, body });
  if (answer.status !== 204) throw new Error(`push: ${answer.status} ${await answer.text()}`);
}

export async function fill(place: Place): Promise<void> {
  const hour = 3_600_000;
  const lines = Array.from({ length: 3000 }, (_, n) => {
    return [nsAgo(30 * hour - n * 30_000), `level=info request ${n} "quoted" \\ {}`] as const;
  });
  await push(place, [{ stream: { app: 'shop', env: 'prod' }, values: lines }]);
  const same = nsAgo(2 * hour);
  const burst = Array.from({ length: 700 }, (_, n) => [same, `burst ${n}`] as const);
  await push(place, [
    {
      stream: { app: 'shop' },
      values: [[nsAgo(25 * hour), 'a day ago'], ...burst.map(([ts, line]) => [ts, line] as const)],
    },
    {
      stream: { service_name: 'worker', job: 'x"y' },
      values: [
        [nsAgo(hour), 'plain'],
        [nsAgo(hour), 'with', { trace_id: 'abc', span: '1' }],
        [nsAgo(hour, 1), 'schlüssel 日本\nsecond\tline', { detected_level: 'custom' }],
        [nsAgo(hour, 2), ''],
      ],
    },
  ]);
}

// A bucket with as many objects as are asked for, none of which exists: a server that makes up its pages, and the
// bodies of its objects. Only for figures about very many objects, which take a real server hours to be filled with.
// It is a process of its own, so that its memory and its time are not those of who asks it.
//
// As a program: node s3-generated.ts OBJECTS; it says the port that it listens on.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createInterface } from 'node:readline';

const PAGE = 1000;
const FOLDER_OBJECTS = 1000;
const MODIFIED = ['2026-01-01T00:00:00.000Z', '2026-02-02T00:00:00.000Z'] as const;
const BUCKET = 'many';
const NAME = 'MinIO (made up)';

export interface GeneratedS3 extends AsyncDisposable {
  /** For the settings of a component. */
  readonly settings: { readonly endpoint: string; readonly buckets: readonly string[] };
  /** From now on one in so many objects is another one than before. */
  change(oneIn: number): Promise<void>;
  /** Objects that were read so far. */
  reads(): Promise<number>;
}

export async function startGeneratedS3(objects: number): Promise<GeneratedS3> {
  const child = spawn(process.execPath, [import.meta.filename, `${objects}`], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [port] = await once(createInterface({ input: child.stdout }), 'line');
  const endpoint = `http://127.0.0.1:${port}`;
  return {
    settings: { endpoint, buckets: [BUCKET] },
    async change(oneIn) {
      await (await fetch(`${endpoint}/-/change/${oneIn}`)).arrayBuffer();
    },
    reads: async () => Number(await (await fetch(`${endpoint}/-/reads`)).text()),
    async [Symbol.asyncDispose]() {
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    },
  };
}

if (import.meta.main) serve(Number(process.argv[2]));

function serve(objects: number): void {
  let oneIn = 0;
  let reads = 0;
  const generation = (n: number): 0 | 1 => (oneIn > 0 && n % oneIn === 0 ? 1 : 0);
  const server = createServer((request, response) => {
    const { pathname, searchParams: query } = new URL(request.url ?? '/', 'http://host');
    const [, bucket, ...rest] = pathname.split('/');
    const key = decodeURIComponent(rest.join('/'));
    if (bucket === '-') {
      if (rest[0] === 'change') oneIn = Number(rest[1]);
      response.end(`${reads}`);
    } else if (key !== '' && request.method === 'GET' && query.has('tagging')) {
      send(response, 200, '<Tagging><TagSet></TagSet></Tagging>');
    } else if (key !== '') {
      reads += 1;
      sendObject(response, key, { objects, generation, withBody: request.method === 'GET' });
    } else if (query.has('list-type')) sendPage(response, query, { objects, generation });
    else if (query.has('versioning')) send(response, 200, '<VersioningConfiguration></VersioningConfiguration>');
    else send(response, 404, '<Error><Code>NoSuchSetting</Code><Message>there is none</Message></Error>');
  });
  server.keepAliveTimeout = 60_000;
  server.listen(0, '127.0.0.1', () => console.log((server.address() as AddressInfo).port));
}

interface Content {
  readonly objects: number;
  readonly generation: (n: number) => 0 | 1;
}

function sendObject(response: ServerResponse, key: string, content: Content & { readonly withBody: boolean }): void {
  const n = indexOf(key);
  if (n === null || n >= content.objects) {
    send(response, 404, '<Error><Code>NoSuchKey</Code></Error>');
    return;
  }
  const generation = content.generation(n);
  const body = bodyOf(n, generation);
  response.writeHead(200, {
    server: NAME,
    etag: `"${etagOf(n, generation)}"`,
    'content-length': body.length,
    'content-type': 'text/plain',
    'last-modified': new Date(MODIFIED[generation]).toUTCString(),
  });
  response.end(content.withBody ? body : undefined);
}

function sendPage(response: ServerResponse, query: URLSearchParams, { objects, generation }: Content): void {
  const most = Math.min(PAGE, Number(query.get('max-keys') ?? PAGE));
  let xml = '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult><EncodingType>url</EncodingType>';
  if (query.has('delimiter')) {
    const folders = Math.min(PAGE, Math.ceil(objects / FOLDER_OBJECTS));
    for (let n = 0; n < folders; n++) xml += `<CommonPrefixes><Prefix>${folderOf(n)}/</Prefix></CommonPrefixes>`;
    send(response, 200, `${xml}<IsTruncated>false</IsTruncated></ListBucketResult>`);
    return;
  }
  const token = query.get('continuation-token');
  const begin = token === null ? firstAfter(query.get('start-after') ?? '', objects) : Number(token);
  const end = Math.min(objects, begin + most);
  for (let n = begin; n < end; n++) {
    const now = generation(n);
    xml += `<Contents><Key>${keyOf(n)}</Key><LastModified>${MODIFIED[now]}</LastModified>`;
    xml += `<ETag>&quot;${etagOf(n, now)}&quot;</ETag><Size>${bodyOf(n, now).length}</Size>`;
    xml += '<StorageClass>STANDARD</StorageClass></Contents>';
  }
  xml += `<IsTruncated>${end < objects}</IsTruncated>`;
  if (end < objects) xml += `<NextContinuationToken>${end}</NextContinuationToken>`;
  send(response, 200, `${xml}</ListBucketResult>`);
}

function send(response: ServerResponse, status: number, xml: string): void {
  response.writeHead(status, { server: NAME, 'content-type': 'application/xml', 'content-length': xml.length });
  response.end(xml);
}

function folderOf(folder: number): string {
  return `folder-${String(folder).padStart(5, '0')}`;
}

/** In order of n. */
function keyOf(n: number): string {
  return `${folderOf(Math.floor(n / FOLDER_OBJECTS))}/object-${String(n).padStart(8, '0')}.json`;
}

function indexOf(key: string): number | null {
  const [, digits] = /^folder-\d{5}\/object-(\d{8})\.json$/.exec(key) ?? [];
  return digits === undefined ? null : Number(digits);
}

function firstAfter(after: string, objects: number): number {
  let [low, high] = [0, objects];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (keyOf(middle) > after) high = middle;
    else low = middle + 1;
  }
  return low;
}

function etagOf(n: number, generation: number): string {
  return String(n * 2 + generation).padStart(32, '0');
}

function bodyOf(n: number, generation: number): string {
  return `{"object":${n},"generation":${generation}}`;
}

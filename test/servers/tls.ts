import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const exec = promisify(execFile);

export interface Certificate {
  /** Its own authority: what clients are given to trust. */
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
}

/** A self-signed certificate for localhost and 127.0.0.1, readable for the directory's owner only. */
export async function certificateIn(dir: string, user?: { uid: number; gid: number } | null): Promise<Certificate> {
  const certFile = join(dir, 'server.crt');
  const keyFile = join(dir, 'server.key');
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', keyFile];
  await exec('openssl', ['req', '-x509', '-days', '2', ...key, '-out', certFile, ...subject], { ...(user ?? {}) });
  return { caFile: certFile, certFile, keyFile };
}

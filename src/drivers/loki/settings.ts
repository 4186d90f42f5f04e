// Settings of a component of kind loki.

import { z } from 'zod';
import { Failure } from '../../core/errors.ts';
import { duration, parseSettings } from '../../core/settings.ts';

export const lokiSettings = z.strictObject({
  url: z.string().describe('http://host:3100, with the path that a proxy puts before the API if there is one'),
  tenant: z.string().optional().describe('X-Scope-OrgID, where tenants are told apart; one'),
  username: z.string().optional().describe('where a proxy asks for one'),
  password: z.string().optional().describe('of the user'),
  token: z.string().optional().describe('a bearer token, instead of user and password'),
  selector: z.string().optional().describe('the streams that are protected: {app="shop"}; all by default'),
  since: duration.prefault('7d').describe('how far back a capture goes, to the beginning of that day (UTC)'),
  timeout: duration.prefault('60s').describe('how long one answer may take'),
  follow_every: duration.prefault('5s').describe('how often new lines are asked for while the Loki is followed'),
});

export interface Settings {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly selector: string | null;
  readonly sinceMs: number;
  readonly timeoutMs: number;
  readonly tenant: string | null;
  readonly followEveryMs: number;
}

export function readSettings(input: unknown): Settings {
  const parsed = parseSettings(lokiSettings, input, 'loki');
  const { url, tenant, username, password, token, selector, since, timeout } = parsed;
  if ((username === undefined) !== (password === undefined)) {
    throw new Failure('settings-invalid', 'loki: username and password: either needs the other');
  }
  if (selector !== undefined && !/^\s*\{\s*[A-Za-z_].*\}\s*$/s.test(selector)) {
    throw new Failure('settings-invalid', 'loki: selector: not of the form {app="shop"}');
  }
  if (tenant !== undefined && /[|/\\]|^\.\.?$|^$/.test(tenant)) {
    const hint = 'a component is of one tenant: make a component for each';
    throw new Failure('settings-invalid', `loki: tenant: ${tenant} is not the name of one`, { hint });
  }
  const basic = username === undefined ? null : Buffer.from(`${username}:${password}`).toString('base64');
  return {
    url: checkedUrl(url),
    headers: {
      ...(tenant === undefined ? {} : { 'x-scope-orgid': tenant }),
      ...(basic === null ? {} : { authorization: `Basic ${basic}` }),
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    },
    selector: selector?.trim() ?? null,
    sinceMs: since,
    timeoutMs: timeout,
    tenant: tenant ?? null,
    followEveryMs: parsed.follow_every,
  };
}

/** The same component at another place: '--to logs=http://host:3100'. */
export function retarget(settings: unknown, target: string): unknown {
  return {
    ...z.looseObject({}).parse(settings),
    url: checkedUrl(target.includes('://') ? target : `http://${target}`),
  };
}

function checkedUrl(text: string): string {
  const url = URL.parse(text);
  if (!url || !['http:', 'https:'].includes(url.protocol) || url.username !== '' || url.search !== '') {
    throw new Failure('settings-invalid', 'loki: url: not of the form http://host:3100 (who you are goes elsewhere)');
  }
  return `${url.origin}${url.pathname.replace(/\/+$/, '')}`;
}

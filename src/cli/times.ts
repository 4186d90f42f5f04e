import { Failure } from '../core/errors.ts';
import { parseDuration } from '../core/settings.ts';

/** '2026-11-21T14:03:27Z' or '15m ago'. A time without a zone is refused: it would mean two things. */
export function parseTime(text: string, now: Date): Date {
  const [, ago] = /^(\S+) ago$/.exec(text.trim()) ?? [];
  if (ago !== undefined) {
    const ms = parseDuration(ago);
    if (ms !== null) return new Date(now.getTime() - ms);
  }
  const rfc3339 = /^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?([Zz]|[+-]\d{2}:\d{2})$/;
  if (rfc3339.test(text) && !Number.isNaN(Date.parse(text))) return new Date(text);
  const hint = "write it as 2026-11-21T14:03:27Z, with Z or an offset such as +01:00, or as '15m ago'";
  throw new Failure('usage', `${text} is no time that can be told`, { hint });
}

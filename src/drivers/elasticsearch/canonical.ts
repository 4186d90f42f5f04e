import { hash } from 'node:crypto';
import type { Json } from '../../core/model.ts';

/** One text for one meaning: the names of objects in order. */
export function canonical(value: Json): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  const fields = Object.entries(value as Readonly<Record<string, Json>>).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${fields.map(([name, each]) => `${JSON.stringify(name)}:${canonical(each)}`).join(',')}}`;
}

export function digestOf(value: Json): string {
  return `sha256:${hash('sha256', canonical(value))}`;
}

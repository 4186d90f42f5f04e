// A small numbered, timed trace that following leaves in a service's own data: what comes back tells by it how far it
// goes.

import { z } from 'zod';
import { Failure } from './errors.ts';

export interface Marker {
  /** Grows by one each time. */
  readonly number: number;
  /** RFC 3339, by our clock, before it was written. */
  readonly at: string;
}
export interface FoundMarker extends Marker {
  /** In the service's own words. */
  readonly where: string;
}

const schema = z.object({ number: z.int().positive(), at: z.iso.datetime() });

export function markerText({ number, at }: Marker): string {
  return JSON.stringify({ number, at });
}

/** 'exists' when what is there is none of ours: it is neither read as one nor written over. */
export function readMarker(text: string, where: string): FoundMarker {
  try {
    return { ...schema.parse(JSON.parse(text)), where };
  } catch (cause) {
    throw notOurs(where, cause);
  }
}

export function notOurs(where: string, cause?: unknown): Failure {
  return new Failure('exists', `${where} is there and is no marker of Lifeboat`, {
    cause,
    hint: 'it is left as it is: take markers from the component, or give what is there another name',
  });
}

/** Null of none. */
export function newestOf(found: readonly FoundMarker[]): FoundMarker | null {
  return found.reduce<FoundMarker | null>((best, each) => (best && best.number >= each.number ? best : each), null);
}

/** What is written to a standby is lost when it follows on, or breaks its following. */
export function standsBy(where: string): Failure {
  return new Failure('blocked', `${where} is a standby, and no marker is written to one`, {
    hint: 'they come to it from its primary; name that as the component to have it marked',
  });
}

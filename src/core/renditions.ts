// Plain forms of parts, for drivers that can tell them by the name of a part.

import type { Driver } from './driver.ts';
import type { Rendition, Sink } from './model.ts';

/** For captures of few parts: all names are held. */
export function renditionsByName(
  formsOf: (names: readonly string[], serverVersion: string) => ReadonlyMap<string, Rendition>,
): NonNullable<Driver['renditions']> {
  return async function* (ctx, source, serverVersion) {
    const names: string[] = [];
    for await (const { name } of source.parts(ctx)) names.push(name);
    const forms = formsOf(names, serverVersion);
    for (const part of names) {
      const rendition = forms.get(part);
      if (rendition) yield { part, rendition };
    }
  };
}

/** The same sink, told of the plain form of each part. */
export function withForms(sink: Sink, formOf: (name: string) => Rendition): Sink {
  const { putAll, keepAll } = sink;
  const formed = <P extends { readonly name: string }>(part: P): P & { meta: { rendition: Rendition } } => {
    return { ...part, meta: { rendition: formOf(part.name) } };
  };
  return {
    ...sink,
    put: (ctx, name, body, meta) => sink.put(ctx, name, body, { ...meta, rendition: formOf(name) }),
    keep: (ctx, name, from, meta) => sink.keep(ctx, name, from, { ...meta, rendition: formOf(name) }),
    ...(putAll ? { putAll: (ctx, parts) => putAll(ctx, parts.map(formed)) } : {}),
    ...(keepAll ? { keepAll: (ctx, parts) => keepAll(ctx, parts.map(formed)) } : {}),
  };
}

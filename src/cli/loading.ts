// Makes loading cheaper. A command takes some 200 modules, and Node looks for each of them in the file system and
// follows links on the way: a third of a millisecond for what a relative name with its ending says already.

import { registerHooks } from 'node:module';

/** Zod's messages in 60 languages, which its index loads; English does not come from here. */
const LOCALES = /\/zod\/v4\/locales\/index\.js$/;
const EMPTY = 'data:text/javascript,';
const SCRIPT = /\.c?js$/;

registerHooks({
  resolve(specifier, context, next) {
    const { parentURL } = context;
    if (!specifier.startsWith('.') || parentURL === undefined) return next(specifier, context);
    const url = new URL(specifier, parentURL).href;
    if (LOCALES.test(url)) return { url: EMPTY, format: 'module', shortCircuit: true };
    if (url.endsWith('.ts')) return { url, format: 'module-typescript', shortCircuit: true };
    if (SCRIPT.test(url)) return { url, shortCircuit: true };
    return next(specifier, context);
  },
});

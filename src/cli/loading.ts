// Makes loading cheaper. A command takes some 250 modules, and Node looks for each of them in the file system, asks
// what kind it is, and follows links on the way: a third of a millisecond for what its name says already.

import { registerHooks } from 'node:module';

/** Of zod's messages in 60 languages, which its index loads; English does not come from here. */
const LOCALES = /\/zod\/v4\/\w+\/$/;
const EMPTY = 'data:text/javascript,';

registerHooks({
  resolve(specifier, context, next) {
    const { parentURL } = context;
    if (!specifier.startsWith('.') || parentURL === undefined) return next(specifier, context);
    if (specifier === '../locales/index.js' && LOCALES.test(new URL('.', parentURL).pathname)) {
      return { url: EMPTY, format: 'module', shortCircuit: true };
    }
    if (!specifier.endsWith('.ts')) return next(specifier, context);
    return { url: new URL(specifier, parentURL).href, format: 'module-typescript', shortCircuit: true };
  },
});

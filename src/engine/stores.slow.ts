import { describe } from 'node:test';
import { diesAnywhere, KINDS } from './stores.suite.ts';

for (const kind of KINDS.filter(({ stride }) => stride > 1)) {
  describe(`over a store that is ${kind.title}`, () => diesAnywhere(kind, 1));
}

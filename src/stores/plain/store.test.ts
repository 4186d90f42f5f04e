import { storeSuite } from '../store.suite.ts';
import { plainFormat } from './store.ts';

for (const layout of ['dated', 'by-component'] as const) {
  storeSuite({ name: `plain ${layout}`, format: plainFormat, settings: (stack) => ({ stack, layout }) });
}

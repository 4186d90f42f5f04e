import { stockSuite } from './stock.suite.ts';
import { stockPrograms } from './stock-testing.ts';

// Older ones take their turn with what is slow.
const [newest] = await stockPrograms();
stockSuite(newest);

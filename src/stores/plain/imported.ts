// As much as is known of what other programs captured.

import type { CapturedComponent } from '../../core/point.ts';
import { IMPORTED } from './manifest.ts';

const NOTE = 'made by other programs: it has no inventory, and checksums only since it was imported';

export function importedComponent(kind: string, parts: CapturedComponent['parts']): CapturedComponent {
  return {
    kind,
    error: null,
    serverVersion: null,
    identity: null,
    method: IMPORTED,
    cut: null,
    inventoryLevel: null,
    totals: {},
    parts,
    durationMs: 0,
    warnings: [NOTE],
    external: null,
    journal: null,
  };
}

// Backups as the engine's tests ask for them.

import assert from 'node:assert/strict';
import type { RecoveryPoint } from '../core/point.ts';
import type { TestContext } from '../core/testing.ts';
import { type BackUpRequest, backUp } from './backup.ts';
import type { StackComponent } from './model.ts';
import { type Disk, named } from './testing-store.ts';

export function request(more: Partial<BackUpRequest> & Pick<BackUpRequest, 'components' | 'stores'>): BackUpRequest {
  return { stack: 'shop', plan: 'nightly', ...more };
}

/** A point of these. */
export async function taken(ctx: TestContext, on: Disk, components: readonly StackComponent[]): Promise<RecoveryPoint> {
  const { point } = await backUp(ctx, request({ components, stores: [named('a', on)] }));
  assert.ok(point);
  return point;
}

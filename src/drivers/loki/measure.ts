// Checks of the user's: a query in LogQL that answers with one number.

import { z } from 'zod';
import { Failure } from '../../core/errors.ts';
import type { Context } from '../../core/model.ts';
import { askJson, whereOf } from './http.ts';
import type { Settings } from './settings.ts';

const value = z.tuple([z.number(), z.string()]);
const answerSchema = z.object({
  data: z.union([
    z.object({ resultType: z.literal('vector'), result: z.array(z.object({ value })).max(1) }),
    z.object({ resultType: z.literal('scalar'), result: value }),
  ]),
});

/** 'sum(count_over_time({app="shop"}[1h]))'. No lines at all are 0. */
export async function measure(ctx: Context, settings: Settings, query: string): Promise<number> {
  const time = `${ctx.now().getTime()}000000`;
  const answer = await askJson(ctx, settings, '/loki/api/v1/query', { query: { query, time } });
  const { success, data } = answerSchema.safeParse(answer);
  if (!success) {
    throw new Failure('denied', `${whereOf(settings)}: the check does not answer with one number`, {
      hint: `for example 'sum(count_over_time({app="shop"}[1h]))'`,
    });
  }
  const { data: found } = data;
  return Number(found.resultType === 'scalar' ? found.result[1] : (found.result[0]?.value[1] ?? 0));
}

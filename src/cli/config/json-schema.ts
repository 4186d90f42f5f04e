import { z } from 'zod';
import { bucketPlugin, driverNames, driverPlugin, formatNames, formatPlugin } from '../plugins.ts';
import { componentCommon, configSchema, sandboxSchema, storeCommon } from './schema.ts';

/** The JSON Schema of lifeboat.yaml: one alternative for each kind of component, format and bucket. */
export async function configSchemaJson(): Promise<object> {
  const components: z.ZodObject[] = [];
  for (const kind of driverNames()) {
    const { settings } = await driverPlugin(kind);
    const sandbox = sandboxSchema.extend({ external: settings.partial() }).optional();
    components.push(z.strictObject({ ...componentCommon.shape, ...settings.shape, sandbox, kind: z.literal(kind) }));
  }
  const stores: z.ZodObject[] = [];
  for (const format of formatNames()) {
    const { settings } = await formatPlugin(format);
    for (const bucket of await Promise.all([bucketPlugin('s3://bucket'), bucketPlugin('/directory')])) {
      const { stack: _stack, ...own } = settings.shape; // given once, at the top
      stores.push(
        z.strictObject({ ...bucket.settings.shape, ...own, ...storeCommon.shape, format: z.literal(format) }),
      );
    }
  }
  const whole = z.strictObject({
    ...configSchema.shape,
    stores: z.record(z.string(), z.union(stores)),
    components: z.record(z.string(), z.union(components)),
  });
  return z.toJSONSchema(whole, { io: 'input', unrepresentable: 'any' });
}

// The settings of a staging service: its own place and login, and what it is to hold as the component has it.

/**
 * Keys of any driver that say where a service is and who we are there. A test holds every key of every driver against
 * this list, so that no login of the protected service is ever sent to another.
 */
export const PLACE_KEYS: readonly string[] = [
  ...['url', 'endpoint', 'host', 'hosts', 'port', 'brokers', 'root', 'tenant', 'region', 'path_style', 'repository'],
  ...[
    'user',
    'username',
    'password',
    'token',
    'api_key',
    'access_key',
    'secret_key',
    'session_token',
    'profile',
    'sasl',
  ],
  ...['tls', 'ca_file', 'data_directory', 'tablespaces'],
];

export function stagingSettings(
  own: Readonly<Record<string, unknown>>,
  external: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const held = Object.entries(own).filter(([key]) => !PLACE_KEYS.includes(key));
  return { ...Object.fromEntries(held), ...external };
}

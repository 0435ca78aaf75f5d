import { isJsonObject } from '../../protocol/message.js';
import { DEFAULTS, WS_GATEWAY } from '../../ws-gateway.options.js';
import { LOG_LEVELS } from './configuration.js';

/** The JSON Schema (draft 2020-12) of the file that `WS_GATEWAY_CONFIG` names. The build adds the doc comments of the options. */
export function fileSchema(): Record<string, unknown> {
  const { properties, ...options } = withDefaults({ ...WS_GATEWAY.schema }, DEFAULTS);
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'The configuration file of ws-gateway',
    ...options,
    properties: {
      $schema: { type: 'string', description: 'Where this schema lies, for editors.' },
      logLevel: { enum: LOG_LEVELS, default: 'info', description: 'The quietest lines of the log that are written.' },
      ...(properties as object), // because an object's schema has them
    },
  };
}

function withDefaults(schema: Record<string, unknown>, value: unknown): Record<string, unknown> {
  const { properties } = schema;
  if (isJsonObject(properties)) {
    const defaults = isJsonObject(value) ? value : {};
    const entries = Object.entries(properties).map(([name, one]) => [
      name,
      withDefaults(one as Record<string, unknown>, defaults[name]), // because properties are schemas
    ]);
    return { ...schema, properties: Object.fromEntries(entries) as object };
  }
  if (value === undefined || isJsonObject(value)) return schema;
  return { ...schema, default: value === Infinity ? null : value }; // JSON has no Infinity
}

import { Ajv2020 } from 'ajv/dist/2020.js';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readConfiguration } from '../../../src/service/configuration/configuration.js';
import { fileSchema } from '../../../src/service/configuration/file-schema.js';
import { DEFAULTS } from '../../../src/ws-gateway.options.js';
import { SECRET } from '../../support/tokens.js';

const isValid = new Ajv2020({ allErrors: true, allowUnionTypes: true }).compile(fileSchema());

/** What the service says of a file; undefined when it takes it. */
function complaintAbout(content: object): string | undefined {
  const path = join(mkdtempSync(join(tmpdir(), 'ws-gateway-schema-')), 'config.json');
  writeFileSync(path, JSON.stringify(content));
  try {
    readConfiguration({ JWT_SECRET: SECRET, WS_GATEWAY_CONFIG: path }, false);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

const inJson = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value, (_, one: unknown) => (one === Infinity ? null : one)));

describe('the JSON Schema of the configuration file', () => {
  it.each([
    ['the defaults', inJson({ ...DEFAULTS, auth: { timeoutMs: 5_000 } })],
    ['what it names itself', { $schema: './ws-gateway.schema.json', logLevel: 'debug' }],
    ['a limit that is off', { firewall: { maxConnections: null } }],
    ['options by path', { paths: { '/ws': { limits: { messagesPerSecond: null }, firewall: { origins: ['*'] } } } }],
    ['a file with lists', { firewall: { allow: ['10.0.0.0/8'], trustProxy: 1, ban: { forMs: [1_000] } } }],
  ])('takes %s, as the service does', (_, content) => {
    expect([isValid(content), isValid.errors]).toEqual([true, null]);
    expect(complaintAbout(content as object)).toBeUndefined();
  });

  it.each([
    ['an option that is none', { limits: { maxMesageBytes: 1 } }],
    ['a number that is too large', { limits: { maxMessageBytes: 1e12 } }],
    ['a text for a number', { firewall: { maxConnections: '5' } }],
    ['null where no limit can be off', { limits: { maxMessageBytes: null } }],
    ['a number that is too large, by path', { paths: { '/ws': { limits: { maxMessageBytes: 1e12 } } } }],
    ['an option that no path has by itself', { paths: { '/ws': { limits: { maxOutboundBytesTotal: 1_048_576 } } } }],
    ['a path that is none', { paths: { '/a b': {} } }],
    ['a level that is none', { logLevel: 'loud' }],
    ['a list with a double', { auth: { sources: ['header', 'header'] } }],
  ])('refuses %s, as the service does', (_, content) => {
    expect(isValid(content)).toBe(false);
    expect(complaintAbout(content)).toBeDefined();
  });

  it('is in the build, with a sentence for every option', () => {
    interface Schema {
      properties?: Record<string, Schema>;
      additionalProperties?: Schema | boolean;
      description?: string;
    }
    const built = JSON.parse(
      readFileSync(new URL('../../../dist/ws-gateway.schema.json', import.meta.url), 'utf8'),
    ) as Schema;
    const silent = (schema: Schema, at: string): string[] => [
      ...(typeof schema.additionalProperties === 'object' ? silent(schema.additionalProperties, `${at}*.`) : []),
      ...Object.entries(schema.properties ?? {}).flatMap(([name, one]) => [
        ...(one.description === undefined ? [at + name] : []),
        ...silent(one, `${at}${name}.`),
      ]),
    ];
    expect(silent(built, '')).toEqual([]);
    expect(Object.keys(built.properties ?? {})).toEqual(Object.keys(fileSchema().properties as object));
  });

  it('leaves out a default of the machine that builds, and says it in words', () => {
    const built = readFileSync(new URL('../../../dist/ws-gateway.schema.json', import.meta.url), 'utf8');
    const { properties } = JSON.parse(built) as { properties: { limits: { properties: Record<string, object> } } };
    const { maxMessageBytes, maxHandlingBytesTotal } = properties.limits.properties;
    expect(maxMessageBytes).toMatchObject({ maximum: 16_777_216, default: 65_536 });
    expect(maxHandlingBytesTotal).toMatchObject({ description: expect.stringContaining("an eighth of V8's heap") });
    expect(maxHandlingBytesTotal).not.toHaveProperty('default');
  });
});

it('the published declarations say bounds and default of an option, for editors', () => {
  const declarations = readFileSync(new URL('../../../dist/connection/options.d.ts', import.meta.url), 'utf8');
  expect(declarations).toContain(
    '/** Largest message accepted, in bytes; a larger one closes with 1009. 1 to 16_777_216. @default 65_536 */',
  );
  expect(declarations).toContain(
    '/** Messages of a session in a second, in the long run. 1 to 10_000_000; `Infinity` is off. @default 50 */',
  );
});

import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readConfiguration } from '../../../src/service/configuration/configuration.js';
import type { ServiceConfiguration } from '../../../src/service/configuration/configuration.js';
import { SECRET } from '../../support/tokens.js';

const file = join(mkdtempSync(join(tmpdir(), 'ws-gateway-')), 'options.json');

function read(options: object): ServiceConfiguration {
  writeFileSync(file, JSON.stringify(options));
  return readConfiguration({ JWT_SECRET: SECRET, WS_GATEWAY_CONFIG: file }, false);
}

describe('null in a file of options', () => {
  it('is Infinity where a number may be off', () => {
    const { firewall } = read({ firewall: { maxConnections: null, ban: { violations: null } } }).gateway;
    expect(firewall).toEqual({ maxConnections: Infinity, ban: { violations: Infinity } });
  });

  it('is refused everywhere else', () => {
    expect(() => read({ firewall: { ban: { withinMs: null } } })).toThrow(
      'firewall.ban.withinMs must be an integer from 1000 to 86400000, got null',
    );
    expect(() => read({ firewall: { maxConnections: 0 } })).toThrow(
      'firewall.maxConnections must be an integer from 1 to 10000000, or null, got 0',
    );
    expect(() => read({ firewall: null })).toThrow('firewall must be an object, got null');
  });
});

import { Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import { resolveOptions, WsGatewayOptionsError } from '../../src/ws-gateway.options.js';
import { SECRET } from '../support/tokens.js';

const auth = { jwt: { secret: SECRET } };
const key = 'k'.repeat(32);

function problemsOf(options: object): readonly string[] {
  try {
    resolveOptions({ auth, ...options });
  } catch (error) {
    if (error instanceof WsGatewayOptionsError) return error.problems;
    throw error;
  }
  return [];
}

describe('the options of monitoring and privacy', () => {
  it('a registry switches metrics on', () => {
    const registry = new Registry();
    expect(resolveOptions({ auth, monitoring: { registry } }).monitoring).toEqual({
      metrics: true,
      registry,
      traces: true,
    });
    expect(Object.isFrozen(registry)).toBe(false);
  });

  it('name everything that is wrong, and show no key', () => {
    expect(
      problemsOf({
        monitoring: { metrics: 'yes', traces: 1, registry: {}, dashboards: true },
        privacy: { subject: 'hidden', key: 'hunter2', phone: 'masked' },
      }),
    ).toEqual([
      'monitoring.dashboards is not an option',
      'monitoring.registry must be a Registry of prom-client',
      'monitoring.metrics must be true or false, got "yes"',
      'monitoring.traces must be true or false, got 1',
      'privacy.phone is not an option',
      'privacy.subject must be one of clear, masked, pseudonym, got "hidden"',
      'privacy.key must be a string of at least 32 bytes',
    ]);
    expect(problemsOf({ monitoring: { metrics: false, registry: new Registry() } })).toEqual([
      'monitoring.registry has no effect when metrics is false',
    ]);
  });

  it('pseudonyms need a key of some kind', () => {
    const keys = `one:${Buffer.alloc(32, 1).toString('base64url')}`;
    expect(problemsOf({ privacy: { address: 'pseudonym' } })).toEqual([
      'privacy.key is needed for pseudonyms, unless there are fingerprints.keys',
    ]);
    expect(problemsOf({ privacy: { address: 'pseudonym', key } })).toEqual([]);
    expect(problemsOf({ privacy: { address: 'pseudonym' }, fingerprints: { keys } })).toEqual([]);
  });
});

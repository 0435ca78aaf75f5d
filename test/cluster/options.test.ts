import { describe, expect, it } from 'vitest';
import { WsGatewayOptionsError } from '../../src/index.js';
import { resolveOptions } from '../../src/ws-gateway.options.js';
import { SECRET } from '../support/tokens.js';

describe('the options of a cluster', () => {
  it('need keys for pseudonyms, and show no password', () => {
    const options = { auth: { jwt: { secret: SECRET } }, cluster: { redis: 'http://:hunter2@redis', name: 'a b' } };
    const problemsOf = (given: unknown): readonly string[] => {
      try {
        resolveOptions(given);
        return [];
      } catch (error) {
        if (error instanceof WsGatewayOptionsError) return error.problems;
        throw error;
      }
    };
    expect(problemsOf(options).join()).not.toContain('hunter2');
    expect(problemsOf(options)).toHaveLength(2);
    expect(problemsOf({ ...options, cluster: { redis: 'redis://redis' } })).toEqual([
      'fingerprints.keys is needed with cluster.redis: nodes would make different pseudonyms',
    ]);
  });
});

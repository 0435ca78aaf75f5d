import { describe, expect, it } from 'vitest';
import { resolveOptions } from '../../src/ws-gateway.options.js';
import { SECRET } from '../support/tokens.js';

const message = (options: unknown): string => {
  try {
    resolveOptions(options);
  } catch (error) {
    return (error as Error).message;
  }
  return '';
};

describe('a secret in the wrong place', () => {
  it.each([
    [{ auth: 'hunter2' }, 'auth must be an object, got a string'],
    [{ auth: { jwt: 'hunter2' } }, 'auth.jwt must be an object, got a string'],
    [{ auth: { jwt: { secrets: 'hunter2' } } }, 'auth.jwt.secrets must be an object, got a string'],
    [{ auth: { jwt: { secrets: ['hunter2'] } } }, 'auth.jwt.secrets must be an object, got a list'],
    [{ auth: { jwt: { jwksUri: 'https://me:hunter2@id.test/' } } }, 'auth.jwt.jwksUri must be an https URL'],
  ])('is refused, and not shown: %#', (options, problem) => {
    expect(message(options)).toContain(problem);
    expect(message(options)).not.toContain('hunter2');
  });
});

it.each(['https://*.', 'https://*.:8443', 'ws://app.example.com', 'ftp://app.example.com'])(
  'refuses %s, which no Origin can be',
  (origin) => {
    expect(message({ auth: { jwt: { secret: SECRET } }, firewall: { origins: [origin] } })).toContain(
      'firewall.origins must hold origins',
    );
  },
);

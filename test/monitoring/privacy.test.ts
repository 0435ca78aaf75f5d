import { createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { privacyOf, withPrivacy } from '../../src/monitoring/privacy.js';

const key = 'a-key-for-pseudonyms-of-at-least-32-bytes';

describe('privacyOf', () => {
  it('shows everything in clear unless told otherwise', () => {
    const show = privacyOf({});
    expect(show('subject', 'ada')).toBe('ada');
    expect(show('email', 'ada@example.org')).toBe('ada@example.org');
    expect(show('address', '203.0.113.77')).toBe('203.0.113.77');
  });

  it.each([
    ['203.0.113.77', '203.0.113.0/24'],
    ['::ffff:203.0.113.77', '203.0.113.0/24'],
    ['::FFFF:cb00:714d', '203.0.113.0/24'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1::/48'],
    ['2001:0DB8:0001::6', '2001:db8:1::/48'],
    ['2001:db8::1', '2001:db8::/48'],
    ['::1', '::/48'],
    ['::', '::/48'],
    ['1::', '1::/48'],
    ['fe80::1%eth0', 'fe80::/48'],
    ['unix:', '***'],
    ['', '***'],
  ])('masks the address %s as %s', (address, masked) => {
    expect(privacyOf({ address: 'masked' })('address', address)).toBe(masked);
  });

  it.each([
    ['ada@example.org', 'a***@example.org'],
    ['"a@b"@example.org', '"***@example.org'],
    ['@example.org', '***@example.org'],
    ['no-email', 'n***'],
  ])('masks the e-mail %s as %s', (email, masked) => {
    expect(privacyOf({ email: 'masked' })('email', email)).toBe(masked);
  });

  it('masks a subject, also one that is an e-mail address, without telling its length', () => {
    const show = privacyOf({ subject: 'masked' });
    expect(show('subject', 'ada')).toBe('a***');
    expect(show('subject', 'adalbert')).toBe('a***');
    expect(show('subject', '😀ada')).toBe('😀***');
    expect(show('subject', 'ada@example.org')).toBe('a***@example.org');
    expect(show('subject', '')).toBe('***');
  });

  it('hashes the name of the field with the value', () => {
    const show = privacyOf({ subject: 'pseudonym', email: 'pseudonym', key });
    const text = 'nestjs-ws-gateway fingerprint 1\0subject\0ada@example.org';
    expect(Buffer.from(show('subject', 'ada@example.org').slice(4), 'base64url')).toEqual(
      createHmac('sha256', key).update(text).digest().subarray(0, 16),
    );
    expect(show('email', 'ada@example.org')).toMatch(/^log\.[\w-]{22}$/);
    expect(show('email', 'ada@example.org')).not.toBe(show('subject', 'ada@example.org'));
  });

  it('gives one pseudonym to all spellings of an address, and another with another key', () => {
    const show = privacyOf({ address: 'pseudonym', key });
    expect(show('address', '2001:DB8:0::1')).toBe(show('address', '2001:db8::1'));
    expect(show('address', '::ffff:203.0.113.7')).toBe(show('address', '203.0.113.7'));
    expect(show('address', '203.0.113.7')).not.toBe(
      privacyOf({ address: 'pseudonym', key: `${key}!` })('address', '203.0.113.7'),
    );
  });

  it('decides for each field', () => {
    const show = privacyOf({ subject: 'pseudonym', address: 'masked', key });
    expect(show('email', 'ada@example.org')).toBe('ada@example.org');
    expect(show('address', '203.0.113.77')).toBe('203.0.113.0/24');
  });

  it.each([undefined, '', 'short'])('needs a key of 32 bytes for pseudonyms, not %j', (bad) => {
    expect(() => privacyOf({ email: 'pseudonym', ...(bad !== undefined && { key: bad }) })).toThrow('32 bytes');
    expect(() => privacyOf({ email: 'masked', ...(bad !== undefined && { key: bad }) })).not.toThrow();
  });
});

describe('withPrivacy', () => {
  it('shows the personal members of a line, an actor as a subject, and leaves the others alone', () => {
    const show = privacyOf({ subject: 'masked', email: 'masked', address: 'masked' });
    const line = { code: 'X', subject: 'ada', actor: 'root', email: 'a@b.c', clientAddress: '192.0.2.1' };
    const copy = withPrivacy(line, show);
    expect(copy).toEqual({
      code: 'X',
      subject: 'a***',
      actor: 'r***',
      email: 'a***@b.c',
      clientAddress: '192.0.2.0/24',
    });
    expect(line.subject).toBe('ada');
    const anonymous: { code: string; subject?: string } = { code: 'X' };
    expect(withPrivacy(anonymous, show)).toEqual({ code: 'X' });
  });
});

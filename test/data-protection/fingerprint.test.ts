import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { Fingerprints, KeyRing } from '../../src/index.js';

const key = (): string => randomBytes(32).toString('base64url');
const [first, second] = [key(), key()];
const before = new Fingerprints(KeyRing.parse(`a:${first}`));
const after = new Fingerprints(KeyRing.parse(`b:${second},a:${first}`));

describe('Fingerprints', () => {
  it('gives a value one fingerprint of 128 bits, with the name of its key', () => {
    expect(before.of('subject', 'ada')).toMatch(/^a\.[\w-]{22}$/);
    expect(before.of('subject', 'ada')).toBe(before.of('subject', Buffer.from('ada')));
    expect(before.of('subject', 'ada')).not.toBe(before.of('subject', 'eve'));
  });

  it('is known: HMAC-SHA-256 of label, domain and value', () => {
    const known = new Fingerprints(KeyRing.parse(`k:${Buffer.alloc(32, 1).toString('base64url')}`));
    // echo -n of the same bytes | openssl dgst -sha256 -mac HMAC -macopt hexkey:01…01
    expect(known.of('address', '192.0.2.1')).toBe('k.wAn25IwYQZLLWEEj4mdnQA');
  });

  it('separates domains, also where domain and value run into one another', () => {
    expect(before.of('subject', 'ada')).not.toBe(before.of('ticket', 'ada'));
    expect(before.of('a', 'b\0c')).not.toBe(before.of('a.b', 'c'));
    expect(() => before.of('a\0b', 'c')).toThrow(TypeError);
    expect(() => before.all('', 'c')).toThrow(TypeError);
    expect(() => before.matches('Subject', 'c', '')).toThrow(TypeError);
  });

  it('matches what older keys have made, and makes with the newest', () => {
    const old = before.of('subject', 'ada');
    expect(after.matches('subject', 'ada', old)).toBe(true);
    expect(after.of('subject', 'ada')).toMatch(/^b\./);
    expect(after.matches('subject', 'ada', after.of('subject', 'ada'))).toBe(true);
    expect(before.matches('subject', 'ada', after.of('subject', 'ada'))).toBe(false);
    expect(after.all('subject', 'ada')).toEqual([after.of('subject', 'ada'), old]);
  });

  it.each(['', 'a', 'a.', 'x'.repeat(10_000), before.of('ticket', 'ada'), before.of('subject', 'eve')])(
    'does not match %s',
    (candidate) => expect(after.matches('subject', 'ada', candidate)).toBe(false),
  );

  it('means nothing to another process', () => {
    const value = Fingerprints.ofProcess().of('subject', 'ada');
    expect(value).toMatch(/^process\.[\w-]{22}$/);
    expect(Fingerprints.ofProcess().matches('subject', 'ada', value)).toBe(false);
  });
});

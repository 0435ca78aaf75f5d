import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { KeyRing, KeyRingError } from '../../src/index.js';

const key = (): string => randomBytes(32).toString('base64url');

function problemsOf(text: string): readonly string[] {
  try {
    KeyRing.parse(text);
    return [];
  } catch (error) {
    if (error instanceof KeyRingError) return error.problems;
    throw error;
  }
}

describe('KeyRing', () => {
  it('has the first key as its newest and finds all by name', () => {
    const [newest, older] = [key(), key()];
    const ring = KeyRing.parse(` 2026-07:${newest}, 2026-01:${older} `);
    expect(ring.newest.kid).toBe('2026-07');
    expect(ring.keys.map(({ kid }) => kid)).toEqual(['2026-07', '2026-01']);
    expect(ring.find('2026-01')?.export().toString('base64url')).toBe(older);
    expect(ring.find('2025-07')).toBeUndefined();
    expect(ring.find('constructor')).toBeUndefined();
  });

  it('names every bad entry at once, by position', () => {
    const twice = key();
    const short = randomBytes(16).toString('base64url');
    const padded = randomBytes(32).toString('base64');
    const entries = [`a:${twice}`, '', key(), `b c:${key()}`, `a:${key()}`, `d:${padded}`, `e:${short}`, `f:${twice}`];
    expect(problemsOf(entries.join(','))).toEqual([
      'entry 2 is empty',
      'entry 3 has no "kid:" before its key',
      'entry 4 has a kid that is not 1 to 32 letters, digits, dots, hyphens and underscores',
      'entry 5 has the kid of an earlier one',
      'entry 6 has a key that is not base64url without padding',
      'entry 7 has a key of 16 bytes, it must have 32',
      'entry 8 has the key of an earlier one',
    ]);
  });

  it.each(['', ',', 'a:', ':', 'a', `a:${key()},`])('refuses %j', (text) => {
    expect(problemsOf(text)).not.toEqual([]);
  });

  it('refuses more than 16 keys, and takes 16', () => {
    const entries = Array.from({ length: 17 }, (_, index) => `k${index}:${key()}`);
    expect(problemsOf(entries.join(','))).toHaveLength(1);
    expect(KeyRing.parse(entries.slice(1).join(',')).keys).toHaveLength(16);
  });

  it('shows no key material, neither in complaints nor when it is printed', () => {
    const secret = key();
    // As somebody writes it who takes the key for its name, forgets the name, or loses a character.
    for (const text of [`${secret}:a`, secret, `a:${secret.slice(1)}`, `a:${secret}=`, `a ${secret}`]) {
      const complaint = problemsOf(text).join();
      expect(complaint).not.toBe('');
      expect(complaint).not.toContain(secret.slice(1, 9));
    }
    const ring = KeyRing.parse(`a:${secret}`);
    const bytes = Buffer.from(secret, 'base64url');
    for (const shown of [
      inspect(ring, { depth: 9, showHidden: true }),
      JSON.stringify(ring),
      JSON.stringify(ring.newest),
    ]) {
      expect(shown).not.toContain(secret.slice(0, 8));
      expect(shown).not.toContain(bytes.toString('hex', 0, 4));
    }
  });

  it('makes a random key for a process', () => {
    const [one, other] = [KeyRing.ofProcess(), KeyRing.ofProcess()];
    expect(one.newest.key.equals(other.newest.key)).toBe(false);
    expect(one.newest.key.symmetricKeySize).toBe(32);
  });
});

import { isEmail } from 'class-validator';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { normaliseEmail } from '../../src/email/address.js';
import { IsEmailAddress } from '../../src/email/is-email-address.js';
import { dtoValidator, EmailDto } from '../../src/index.js';

const REFUSED = undefined;

describe('normaliseEmail', () => {
  it.each([
    ['Ada.L@EXAMPLE.Org', 'Ada.L@example.org'],
    [' \tada@example.org\r\n', 'ada@example.org'],
    ['"Ada @ L"@EXAMPLE.org', '"Ada @ L"@example.org'],
    ['ada+tag@example.org', 'ada+tag@example.org'],
    ['a.d.a@gmail.com', 'a.d.a@gmail.com'],
    ['ada@BÜCHER.example', 'ada@xn--bcher-kva.example'],
    ['ada@bu\u0308cher.example', 'ada@xn--bcher-kva.example'],
    ['ada@XN--BCHER-KVA.example', 'ada@xn--bcher-kva.example'],
    ['ada@faß.de', 'ada@xn--fa-hia.de'],
    ['ada@пример.испытание', 'ada@xn--e1afmkfd.xn--80akhbyknj4f'],
    ['A\u0308da@example.org', 'Äda@example.org'],
    ['ﬁsh@example.org', 'ﬁsh@example.org'], // NFC, not NFKC
    ['用户@例子.广告', '用户@xn--fsqu00a.xn--4rr70v'],
  ])('makes of %j %j', (given, expected) => {
    expect(normaliseEmail(given)).toBe(expected);
  });

  it.each([
    '',
    '@',
    'ada',
    'ada@',
    '@example.org',
    'ada@localhost',
    'ada@[192.0.2.1]',
    'ada@192.0.2.1',
    'Ada <ada@example.org>',
    'ada@example.org, eve@example.org',
    'a..da@example.org',
    'ada@-example.org',
    'ada@exam_ple.org',
    'ada@example.org.',
    `${'a'.repeat(65)}@example.org`,
    `ada@${'a'.repeat(64)}.org`,
    `ada@${'ü'.repeat(60)}.example`, // more than 63 octets as punycode
    'ada@ｅxample.org', // full-width: it would become example.org
    'ada@1.2.3.¹¹', // it would become an address of a host
    'ada@\u2488com', // "1." in one character
    'ada@\u0301example.org', // a label may not begin with an accent
    '"a\r\nBcc: eve@example.org"@example.org',
    '"a\0"@example.org',
    '"a\u2028b"@example.org',
    '\ud800@example.org', // half a surrogate pair: isEmail throws
    'ada@\udc00.org',
    `${'"'}${' '.repeat(2_000)}"@example.org`,
  ])('refuses %j', (given) => {
    expect(normaliseEmail(given)).toBe(REFUSED);
  });

  it('counts octets, not characters', () => {
    const domain = `${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(57)}.org`;
    const fits = `${'ü'.repeat(32)}@${domain}`;
    expect(Buffer.byteLength(fits)).toBe(254);
    expect(normaliseEmail(fits)).toBe(fits);
    expect(normaliseEmail(fits.replace('ddd', 'dddd'))).toBe(REFUSED);
  });

  it('accepts a decomposed address that fits when it is composed', () => {
    const composed = `${'ấ'.repeat(21)}@${`${'a'.repeat(40)}.`.repeat(4)}org`;
    expect(normaliseEmail(composed.normalize('NFD'))).toBe(composed);
  });

  const addresses = fc.oneof(
    fc.emailAddress(),
    fc.string({ unit: 'binary', maxLength: 40 }).map((text) => `${text}@example.org`),
    fc.string({ unit: 'grapheme', maxLength: 20 }).map((text) => `ada@${text}.org`),
    fc.string({
      unit: fc.constantFrom('a', 'Ü', '.', '@', '"', '\\', ' ', '\n', 'u\u0308', '。', 'xn--', 'ß', '\u00ad'),
    }),
  );

  it('accepts only what isEmail accepts, and what it makes of it is its own normal form', () => {
    const accepted = fc.property(addresses, (given) => {
      const address = normaliseEmail(given);
      if (address === undefined) return;
      expect(isEmail(given.trim().normalize('NFC')) && isEmail(address)).toBe(true);
      expect(normaliseEmail(address)).toBe(address);
      const at = address.lastIndexOf('@');
      expect(address.slice(at)).toMatch(/^@[a-z0-9.-]+$/);
      const local = given.trim();
      expect(address.slice(0, at)).toBe(local.slice(0, local.lastIndexOf('@')).normalize('NFC'));
    });
    fc.assert(accepted, { numRuns: 2_000 });
  });

  it('accepts every address of ASCII without control characters that isEmail accepts', () => {
    fc.assert(fc.property(fc.emailAddress(), (given) => (normaliseEmail(given) !== REFUSED) === isEmail(given)));
  });
});

describe('EmailDto', () => {
  const { validate, isCompiled } = dtoValidator(EmailDto);
  const detailsOf = async (email: unknown): Promise<unknown> => {
    const error: unknown = await Promise.resolve()
      .then(() => validate({ email }))
      .catch((reason: unknown) => reason);
    return (error as { details?: unknown }).details;
  };

  it('is compiled, and holds the normalised address at once', () => {
    expect(isCompiled).toBe(true);
    expect(validate({ email: ' Ada@BÜCHER.Example ' })).toEqual({ email: 'Ada@xn--bcher-kva.example' });
    expect(validate({ email: 'Ada@EXAMPLE.org' })).toBeInstanceOf(EmailDto);
  });

  it('names the rule that refuses, and never the address', async () => {
    const isEmailDetail = { path: 'email', rule: 'isEmail', message: 'email must be an email' };
    expect(await detailsOf('ada@')).toEqual([isEmailDetail]);
    expect(await detailsOf('"a\r\nb"@example.org')).toEqual([isEmailDetail]);
    expect(await detailsOf('\ud800@example.org')).toEqual([isEmailDetail]);
    const octets = 'email must be shorter than or equal to 254 octets';
    const maxLength = { path: 'email', rule: 'maxLength', message: octets };
    expect(await detailsOf(undefined)).toEqual(expect.arrayContaining([isEmailDetail, maxLength]));
    expect(await detailsOf(`ada@${'a.'.repeat(200)}org`)).toEqual(expect.arrayContaining([isEmailDetail, maxLength]));
    const domain = `${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(58)}.org`;
    expect(await detailsOf(`${'ü'.repeat(32)}@${domain}`)).toEqual([maxLength]);
    expect(await detailsOf(`${'ü'.repeat(32)}@${domain.toUpperCase()}`)).toEqual([maxLength]);
    for (const value of [1, null, {}, ['ada@example.org'], true]) expect(await detailsOf(value)).not.toBeUndefined();
  });

  class ListDto {
    @IsEmailAddress({ each: true, message: 'no such thing' }) to!: string[];
  }

  it('has a decorator for properties of other classes, also for lists', async () => {
    const list = dtoValidator(ListDto);
    expect(await list.validate({ to: [' A@B.org', 'c@bücher.example'] })).toEqual({
      to: ['A@b.org', 'c@xn--bcher-kva.example'],
    });
    await expect(Promise.resolve(list.validate({ to: ['a@b.org', 'c', 1] }))).rejects.toMatchObject({
      details: expect.arrayContaining([{ path: 'to', rule: 'isEmail', message: 'no such thing' }]) as unknown,
    });
  });
});

import { randomBytes } from 'node:crypto';
import { base64url, CompactEncrypt } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';
import { GatewayError, KeyRing, WsSeal } from '../../src/index.js';
import { MAX_SEALED_LENGTH } from '../../src/data-protection/ws-seal.js';

const [first, second] = [randomBytes(32), randomBytes(32)];
const ringOf = (...keys: [string, Buffer][]): KeyRing =>
  KeyRing.parse(keys.map(([kid, key]) => `${kid}:${key.toString('base64url')}`).join());
const here = { event: 'payout', subject: 'ada' };
const header = { alg: 'dir', enc: 'A256GCM', kid: 'a', evt: 'payout', sub: 'ada' };

let seal: WsSeal;
beforeAll(async () => {
  seal = await WsSeal.create(ringOf(['a', first]));
});

/** Sealed as a careless or hostile key holder does it. */
function sealedWith(protectedHeader: object, text = '"x"', key = first): Promise<string> {
  const bytes = new TextEncoder().encode(text);
  return new CompactEncrypt(bytes)
    .setProtectedHeader(protectedHeader as typeof header)
    .encrypt(key, { crit: { evt: true } });
}

/** Why it did not open; fails the test when it did, or when more is said than may be. */
async function refusalOf(sealed: unknown, binding: { event: string; subject?: string } = here): Promise<unknown> {
  const error: unknown = await seal.open(sealed, binding).then(
    () => expect.fail('it has opened'),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(GatewayError);
  const { code, details, cause, message } = error as GatewayError;
  expect({ code, details, message }).toEqual({
    code: 'VALIDATION_FAILED',
    message: 'The payload is not valid',
    details: [{ path: '', rule: 'sealed', message: 'could not be opened' }],
  });
  return cause;
}

describe('WsSeal', () => {
  it.each([
    ['text'],
    ['ä🙂\0'],
    [42],
    [null],
    [false],
    [[1, { a: [] }]],
    [{ iban: 'DE02', nested: { deep: [true] } }],
    [''],
  ])('opens what it has sealed: %j', async (value) => {
    const sealed = await seal.seal(value, here);
    expect(await seal.open(sealed, here)).toEqual(value);
  });

  it('is compact JWE with event and subject in the protected header', async () => {
    const sealed = await seal.seal('x', here);
    const parts = sealed.split('.');
    expect(parts).toHaveLength(5);
    expect(JSON.parse(Buffer.from(parts[0] ?? '', 'base64url').toString())).toEqual(header);
    expect(parts[1]).toBe('');
    expect(await seal.seal('x', here)).not.toBe(sealed);
  });

  it('opens for no other event or subject, nor with a changed header', async () => {
    const sealed = await seal.seal('x', here);
    expect(await refusalOf(sealed, { ...here, event: 'refund' })).toBe('a sealed field was sealed for another event');
    expect(await refusalOf(sealed, { ...here, subject: 'eve' })).toBe('a sealed field was sealed for another subject');
    expect(await refusalOf(sealed, { event: 'payout' })).toBe('a sealed field was sealed for another subject');
    const forEve = base64url.encode(JSON.stringify({ ...header, sub: 'eve' }));
    const changed = [forEve, ...sealed.split('.').slice(1)].join('.');
    expect(await refusalOf(changed, { ...here, subject: 'eve' })).toBe('a sealed field is not what was sealed');
  });

  it('opens for anonymous sessions only what was sealed for nobody', async () => {
    const sealed = await seal.seal('x', { event: 'payout' });
    expect(await seal.open(sealed, { event: 'payout' })).toBe('x');
    await refusalOf(sealed);
    await refusalOf(await sealedWith({ ...header, sub: null }), { event: 'payout' });
  });

  it('opens under every key of the ring and seals under the newest', async () => {
    const rotated = await WsSeal.create(ringOf(['b', second], ['a', first]));
    expect(await rotated.open(await seal.seal('old', here), here)).toBe('old');
    expect(await refusalOf(await rotated.seal('new', here))).toContain('not in the ring');
    const afterwards = await WsSeal.create(ringOf(['b', second]));
    expect(await afterwards.open(await rotated.seal('new', here), here)).toBe('new');
  });

  it('trusts no name of a key: the key itself has to fit', async () => {
    expect(await refusalOf(await sealedWith(header, '"x"', second))).toBe('a sealed field is not what was sealed');
  });

  it('refuses any change to any part', async () => {
    const sealed = await seal.seal('a value of some length', here);
    const flipped = (at: number): string =>
      sealed.slice(0, at) + (sealed[at] === 'A' ? 'B' : 'A') + sealed.slice(at + 1);
    for (let at = 0; at < sealed.length - 1; at++) if (sealed[at] !== '.') await refusalOf(flipped(at));
  });

  it.each([
    ['zip', { ...header, zip: 'DEF' }],
    ['crit', { ...header, crit: ['evt'] }],
    ['any other parameter', { ...header, cty: 'json' }],
    ['A128GCM', { ...header, enc: 'A128GCM' }],
    ['no kid', { ...header, kid: undefined }],
    ['no event', { ...header, evt: undefined }],
  ])('refuses a header with %s', async (_, given) => {
    const key = given.enc === 'A128GCM' ? first.subarray(0, 16) : first;
    await refusalOf(await sealedWith(given, '"x"', key));
  });

  it('refuses other key management', async () => {
    const wrapped = await new CompactEncrypt(new TextEncoder().encode('"x"'))
      .setProtectedHeader({ ...header, alg: 'A256KW' })
      .encrypt(first);
    await refusalOf(wrapped);
    await refusalOf(wrapped.replace(/\.[\w-]+\./, '..')); // without its encrypted key
  });

  it.each([
    undefined,
    null,
    42,
    {},
    ['x'],
    '',
    'plain',
    'a.b.c',
    '....',
    'eyJ9..AAAAAAAAAAAAAAAA.AA.AAAAAAAAAAAAAAAAAAAAAA',
    `e30..AAAAAAAAAAAAAAAA.${'A'.repeat(MAX_SEALED_LENGTH)}.AAAAAAAAAAAAAAAAAAAAAA`,
  ])('refuses what is no sealed value (%#)', async (value) => {
    await refusalOf(value);
  });

  it.each([
    ['no JSON', 'x'],
    ['nothing', ' '],
    ['a forbidden key', '{"__proto__":{}}'],
    ['a hidden forbidden key', '{"\\u005f_proto__":{}}'],
    ['a constructor with a prototype', '{"constructor":{"prototype":{}}}'],
    ['too deep a nesting', '['.repeat(33) + ']'.repeat(33)],
  ])('refuses a key holder who seals %s', async (_, text) => {
    await refusalOf(await sealedWith(header, text));
  });

  it('refuses a key holder who seals what is not UTF-8', async () => {
    const bytes = Buffer.from('"\xff"', 'latin1');
    await refusalOf(await new CompactEncrypt(bytes).setProtectedHeader(header).encrypt(first));
  });

  it('seals nothing that could not be opened', async () => {
    await expect(seal.seal(undefined, here)).rejects.toThrow(TypeError);
    await expect(seal.seal(1n, here)).rejects.toThrow(TypeError);
    await expect(seal.seal('x', { event: '' })).rejects.toThrow('An event');
    await expect(seal.seal('x', { event: 'payout', subject: '' })).rejects.toThrow('A subject');
    await expect(seal.seal('x'.repeat(49_200), here)).rejects.toThrow(RangeError);
    expect(await seal.open(await seal.seal('x'.repeat(48_900), here), here)).toHaveLength(48_900);
  });

  it('says what is missing when there are no keys', async () => {
    const empty = await WsSeal.create(undefined);
    expect(empty.isReady).toBe(false);
    await expect(empty.seal('x', here)).rejects.toThrow('sealing.keys');
    await expect(empty.open('x', here)).rejects.toThrow('sealing.keys');
  });
});

import { describe, expect, it } from 'vitest';
import { AddressDto, parse } from './validate.js';

describe('the validator of the README', () => {
  it('makes an instance at once, and rejects with the details', async () => {
    expect(parse('{"email":"ada@example.org","text":"hi"}')).toBeInstanceOf(AddressDto);
    await expect(parse('{"email":"ada","text":"hi"}')).rejects.toMatchObject({
      code: 'VALIDATION_FAILED',
      details: [{ path: 'email', rule: 'isEmail' }],
    });
  });
});

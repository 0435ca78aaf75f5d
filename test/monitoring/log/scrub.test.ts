import { describe, expect, it } from 'vitest';
import { privacyOf } from '../../../src/monitoring/privacy.js';
import { scrub } from '../../../src/monitoring/log/scrub.js';
import { token } from '../../support/tokens.js';

const clear = privacyOf({});
const masked = privacyOf({ email: 'masked' });

describe('scrub', () => {
  it('takes tokens out, wherever they stand, and leaves what only looks a little like one', () => {
    const jwt = token();
    expect(scrub(`Bearer ${jwt}, access_token=${jwt}; "${jwt}"`, clear)).toBe(
      'Bearer [token], access_token=[token]; "[token]"',
    );
    const [header, payload] = jwt.split('.');
    expect(scrub(`cut: ${header}.${payload}`, clear)).toBe('cut: [token]');
    const stack = "TypeError: x.y.z\n    at eyJust (file:///srv/node_modules/@nestjs/core/a.js:1:2)\n    at 'eyJ'";
    expect(scrub(stack, masked)).toBe(stack);
  });

  it('shows e-mail addresses as the options say', () => {
    const text = 'no mailbox for <ada@example.org>, nor for eve@mail.example.co.uk.';
    expect(scrub(text, clear)).toBe(text);
    expect(scrub(text, masked)).toBe('no mailbox for <a***@example.org>, nor for e***@mail.example.co.uk.');
    const packages = 'at /srv/node_modules/.store/ws@8.23.0/node_modules/@types/ws';
    expect(scrub(packages, masked)).toBe(packages);
  });

  it('looks at each word once, however a stranger writes it', () => {
    const hostile = ['eyJ-'.repeat(20_000), 'a@'.repeat(40_000), '@.a'.repeat(30_000), `x@${'a.'.repeat(40_000)}`];
    const begun = process.cpuUsage();
    for (const text of hostile) expect(scrub(text, masked).length).toBeGreaterThan(0);
    const { user } = process.cpuUsage(begun);
    expect(user).toBeLessThan(500_000);
  });
});

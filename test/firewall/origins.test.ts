import { describe, expect, it } from 'vitest';
import { isOriginAllowed } from '../../src/firewall/origins.js';
import { pathOf } from '../../src/connection/endpoint.js';

describe('isOriginAllowed', () => {
  const allowed = ['https://app.example.com', 'https://*.example.org', 'http://localhost:3000'];

  it.each([
    'https://app.example.com',
    'https://app.example.com:443',
    'HTTPS://APP.EXAMPLE.COM',
    'https://a.example.org',
    'https://a.b.example.org',
    'http://localhost:3000',
  ])('accepts %s', (origin) => {
    expect(isOriginAllowed(origin, 'ws.test', allowed)).toBe(true);
  });

  it.each([
    'https://app.example.com.evil.test',
    'https://evil.test/https://app.example.com',
    'https://app.example.com@evil.test',
    'https://xapp.example.com',
    'http://app.example.com',
    'https://app.example.com:8443',
    'https://example.org',
    'https://evilexample.org',
    'http://a.example.org',
    'http://localhost:3001',
    'null',
    '',
    'file://',
    'chrome-extension://abc',
    'https://ws.test',
    'capacitor://localhost',
  ])('refuses %s', (origin) => {
    expect(isOriginAllowed(origin, 'ws.test', allowed)).toBe(false);
  });

  describe('of an app or an extension', () => {
    const apps = ['capacitor://localhost', 'tauri://localhost', 'chrome-extension://abcdef', 'moz-extension://1-2-3'];

    it.each([...apps, 'CAPACITOR://LocalHost'])('accepts %s', (origin) => {
      expect(isOriginAllowed(origin, 'ws.test', apps)).toBe(true);
    });

    it.each([
      'capacitor://localhost.evil.test',
      'capacitor://localhost:1',
      'ionic://localhost',
      'http://localhost',
      'chrome-extension://abcdefg',
      'chrome-extension://',
      'moz-extension://1-2-3/page.html',
      'capacitor:localhost',
    ])('refuses %s', (origin) => {
      expect(isOriginAllowed(origin, 'ws.test', apps)).toBe(false);
    });
  });

  it('with "*" in the list accepts whatever there is', () => {
    for (const origin of ['https://anybody.test', 'null', 'capacitor://localhost', 'file://'])
      expect(isOriginAllowed(origin, 'ws.test', ['*'])).toBe(true);
  });

  it('without a list accepts the server itself and no other', () => {
    expect(isOriginAllowed('https://ws.test', 'ws.test', undefined)).toBe(true);
    expect(isOriginAllowed('https://ws.test', 'ws.test:443', undefined)).toBe(true);
    expect(isOriginAllowed('http://ws.test:8080', 'ws.test:8080', undefined)).toBe(true);
    expect(isOriginAllowed('http://ws.test', 'ws.test:8080', undefined)).toBe(false);
    expect(isOriginAllowed('https://evil.test', 'ws.test', undefined)).toBe(false);
    expect(isOriginAllowed('https://ws.test', '', undefined)).toBe(false);
    expect(isOriginAllowed('null', 'null', undefined)).toBe(false);
  });
});

describe('pathOf', () => {
  it.each([
    ['/ws', '/ws'],
    ['/ws/', '/ws'],
    ['/ws?a=/b/', '/ws'],
    ['/', '/'],
    ['', '/'],
    ['http://host/ws/?x', '/ws'],
    ['http://[bad/ws', '/ws'],
    ['//ws', '//ws'],
    ['/%zz', '/%zz'],
    ['*', '*'],
  ])('of %j is %j', (target, path) => {
    expect(pathOf(target)).toBe(path);
  });
});

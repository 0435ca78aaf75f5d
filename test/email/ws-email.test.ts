import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WsEmail } from '../../src/index.js';
import type { EmailOptions } from '../../src/index.js';
import { ManualClock } from '../support/app.js';
import { DnsServer, stopDnsServers } from '../support/dns-server.js';
import { freePort } from '../support/tcp.js';

let dns: DnsServer;
let clock: ManualClock;
beforeEach(async () => {
  dns = await DnsServer.start();
  clock = new ManualClock();
});
afterEach(stopDnsServers);

const wsEmail = (options: EmailOptions = {}): WsEmail => new WsEmail({ servers: [dns.address], ...options }, clock);
const MX = { MX: { records: [{ mx: 'mail.example.org' }] } } as const;

/** The types that were asked for, in order. */
const asked = (): string[] => dns.questions.map(({ type }) => type);

describe('what the DNS says', () => {
  it('is deliverable where there are MX records, and asks no further', async () => {
    dns.set('example.org', MX);
    expect(await wsEmail().check('ada@example.org')).toEqual({ verdict: 'deliverable', reason: 'mx' });
    expect(dns.questions).toEqual([{ name: 'example.org', type: 'MX', over: 'udp' }]);
  });

  it.each([
    ['A', { a: '192.0.2.1' }, ['MX', 'A']],
    ['AAAA', { aaaa: '2001:db8::1' }, ['MX', 'A', 'AAAA']],
  ] as const)('is deliverable by an %s record where there is no MX record', async (type, record, types) => {
    dns.set('example.org', { [type]: { records: [record] } });
    expect(await wsEmail().check('ada@example.org')).toEqual({ verdict: 'deliverable', reason: 'address-record' });
    expect(asked()).toEqual(types);
  });

  it('is undeliverable with a null MX, address or not', async () => {
    dns.set('example.org', { MX: { records: [{ mx: '.', priority: 0 }] }, A: { records: [{ a: '192.0.2.1' }] } });
    expect(await wsEmail().check('ada@example.org')).toEqual({ verdict: 'undeliverable', reason: 'null-mx' });
    expect(asked()).toEqual(['MX']);
  });

  it('does not take a null MX beside another for a refusal', async () => {
    dns.set('example.org', { MX: { records: [{ mx: '.', priority: 0 }, { mx: 'mail.example.org' }] } });
    expect(await wsEmail().check('ada@example.org')).toMatchObject({ reason: 'mx' });
  });

  it('is undeliverable where there is no such domain, or nothing in it', async () => {
    expect(await wsEmail().check('ada@example.org')).toEqual({ verdict: 'undeliverable', reason: 'no-such-domain' });
    expect(asked()).toEqual(['MX']);
    dns.set('empty.example.org', { records: [] });
    expect(await wsEmail().check('ada@empty.example.org')).toEqual({
      verdict: 'undeliverable',
      reason: 'no-mail-host',
    });
  });

  it.each(['SERVFAIL', 'REFUSED', 'FORMERR', 'NOTIMP'] as const)(
    'is unknown after %s, without a fallback',
    async (rcode) => {
      dns.set('example.org', { MX: { rcode }, A: { records: [{ a: '192.0.2.1' }] } });
      expect(await wsEmail().check('ada@example.org')).toEqual({ verdict: 'unknown', reason: 'dns-failure' });
      expect(new Set(asked())).toEqual(new Set(['MX']));
    },
  );

  it('is unknown when an address cannot be asked for, or the answer is broken', async () => {
    dns.set('example.org', { A: { rcode: 'SERVFAIL' } });
    expect(await wsEmail().check('ada@example.org')).toMatchObject({ verdict: 'unknown', reason: 'dns-failure' });
    dns.set('broken.example.org', 'garbage');
    expect(await wsEmail().check('ada@broken.example.org')).toMatchObject({ reason: 'dns-failure' });
  });

  it('is unknown when nobody is there to be asked', async () => {
    const email = wsEmail({ servers: [`127.0.0.1:${await freePort()}`] });
    expect(await email.check('ada@example.org')).toMatchObject({ verdict: 'unknown' });
  });

  it('is unknown after the time limit of all questions together, and repeats none endlessly', async () => {
    dns.set('example.org', 'silence');
    dns.set('half.example.org', { AAAA: 'silence' });
    const startedAt = performance.now();
    const verdicts = await Promise.all(
      ['ada@example.org', 'ada@half.example.org'].map((address) => wsEmail({ timeoutMs: 200 }).check(address)),
    );
    expect(verdicts).toEqual([
      { verdict: 'unknown', reason: 'timeout' },
      { verdict: 'unknown', reason: 'timeout' },
    ]);
    expect(performance.now() - startedAt).toBeLessThan(1_000);
    expect(dns.questions.filter(({ name }) => name === 'example.org').length).toBeLessThanOrEqual(2);
  });

  it('asks the next server when the first is silent', async () => {
    const silent = await DnsServer.start();
    silent.set('example.org', 'silence');
    dns.set('example.org', MX);
    const email = wsEmail({ servers: [silent.address, dns.address], timeoutMs: 1_000 });
    expect(await email.check('ada@example.org')).toMatchObject({ reason: 'mx' });
  });

  it('takes an answer too big for a datagram, up to the 64 KB that DNS allows', async () => {
    const records = Array.from({ length: 1_700 }, (_, index) => ({ mx: `m${1_000 + index}.mail.example.org` }));
    dns.set('example.org', { MX: { records } });
    expect(await wsEmail().check('ada@example.org')).toEqual({ verdict: 'deliverable', reason: 'mx' });
    expect(dns.questions.map(({ over }) => over)).toEqual(['udp', 'tcp']);
  });

  it('asks for the domain in ASCII, once for all its spellings', async () => {
    dns.set('xn--bcher-kva.example', MX);
    const email = wsEmail();
    for (const address of ['a@BÜCHER.example', 'b@bu\u0308cher.example', 'c@xn--bcher-kva.EXAMPLE']) {
      expect(await email.check(address)).toMatchObject({ reason: 'mx' });
    }
    expect(dns.questions.map(({ name }) => name)).toEqual(['xn--bcher-kva.example']);
  });

  it('asks nobody for what is no address', async () => {
    const email = wsEmail();
    for (const address of ['', 'ada', 'ada@localhost', 'ada@127.0.0.1', '"\r\n"@example.org', '\ud800@example.org']) {
      expect(await email.check(address)).toEqual({ verdict: 'undeliverable', reason: 'invalid-address' });
    }
    expect(dns.questions).toEqual([]);
  });
});

describe('the list of disposable domains', () => {
  it('is asked first, also for what is below a domain, and not for what only ends like one', async () => {
    const email = wsEmail({ disposableDomains: ['Trash.example', 'bücher.example'] });
    const disposable = { verdict: 'undeliverable', reason: 'disposable-domain' };
    for (const address of ['a@trash.example', 'a@mail.TRASH.example', 'a@xn--bcher-kva.example']) {
      expect(await email.check(address)).toEqual(disposable);
    }
    expect(dns.questions).toEqual([]);
    dns.set('nottrash.example', MX);
    expect(await email.check('a@nottrash.example')).toMatchObject({ verdict: 'deliverable' });
  });
});

describe('what is kept', () => {
  /** After how many seconds a domain is asked for again. */
  async function keptFor(email: WsEmail, address: string): Promise<number> {
    await email.check(address);
    const before = dns.questions.length;
    for (let seconds = 1; seconds < 100_000; seconds++) {
      clock.advance(1_000);
      await email.check(address);
      if (dns.questions.length > before) return seconds;
    }
    return Infinity;
  }

  it('is an answer, for as long as its kind allows', async () => {
    dns.set('mx.test.org', MX);
    dns.set('null.test.org', { MX: { records: [{ mx: '' }] } });
    dns.set('a.test.org', { A: { records: [{ a: '192.0.2.1' }, { a: '192.0.2.2' }], ttlSec: 77 } });
    dns.set('short.test.org', { AAAA: { records: [{ aaaa: '::1' }], ttlSec: 0 } });
    dns.set('long.test.org', { A: { records: [{ a: '192.0.2.1' }], ttlSec: 1_000_000 } });
    dns.set('empty.test.org', { records: [] });
    dns.set('fail.test.org', { rcode: 'SERVFAIL' });
    const email = wsEmail({ maxTtlSec: 200 });
    expect(await keptFor(email, 'a@mx.test.org')).toBe(300);
    expect(await keptFor(email, 'a@null.test.org')).toBe(300);
    expect(await keptFor(email, 'a@a.test.org')).toBe(77);
    expect(await keptFor(email, 'a@short.test.org')).toBe(30);
    expect(await keptFor(email, 'a@long.test.org')).toBe(200);
    expect(await keptFor(email, 'a@empty.test.org')).toBe(60);
    expect(await keptFor(email, 'a@nowhere.test.org')).toBe(60);
    expect(await keptFor(email, 'a@fail.test.org')).toBe(10);
  });

  it('is bounded: what was not asked for longest makes room', async () => {
    const email = wsEmail({ maxCacheEntries: 2 });
    for (const name of ['a', 'b', 'a', 'c', 'a', 'b']) await email.check(`ada@${name}.example.org`);
    expect(dns.questions.map(({ name }) => name[0])).toEqual(['a', 'b', 'c', 'b']);
  });

  it('is nothing when there is no room for it', async () => {
    const email = wsEmail({ maxCacheEntries: 0 });
    await email.check('ada@example.org');
    await email.check('ada@example.org');
    expect(dns.questions).toHaveLength(2);
  });

  it('is no verdict that came of a budget', async () => {
    dns.set('example.org', MX);
    const email = wsEmail({ lookupsPerSecond: 1 });
    await email.check('ada@example.com');
    expect(await email.check('ada@example.org')).toMatchObject({ reason: 'process-budget' });
    clock.advance(1_000);
    expect(await email.check('ada@example.org')).toMatchObject({ reason: 'mx' });
  });
});

describe('what a client cannot drive', () => {
  it('is more than one look-up for a domain at a time, whoever asks', async () => {
    dns.set('example.org', MX);
    const release = dns.hold('example.org');
    const email = wsEmail({ lookupsPerMinutePerSession: 1 });
    const session = {};
    const checks = Array.from({ length: 100 }, (_, index) => email.check(`user${index}@example.org`, session));
    await dns.asked(1);
    release();
    expect(new Set((await Promise.all(checks)).map(({ reason }) => reason))).toEqual(new Set(['mx']));
    expect(dns.questions).toHaveLength(1);
  });

  it('is more look-ups at once than allowed, and a place is free again afterwards', async () => {
    const names = ['a', 'b', 'c'].map((name) => `${name}.example.org`);
    const releases = names.map((name) => dns.hold(name));
    for (const name of names) dns.set(name, MX);
    const email = wsEmail({ maxConcurrent: 2 });
    const running = names.slice(0, 2).map((name) => email.check(`ada@${name}`));
    await dns.asked(2);
    expect(await email.check(`ada@${names[2]}`)).toEqual({ verdict: 'unknown', reason: 'busy' });
    for (const release of releases) release();
    expect((await Promise.all(running)).map(({ reason }) => reason)).toEqual(['mx', 'mx']);
    expect(await email.check(`ada@${names[2]}`)).toMatchObject({ reason: 'mx' });
  });

  it('is more than its share of a minute, while others have theirs', async () => {
    const email = wsEmail({ lookupsPerMinutePerSession: 2 });
    const [session, other] = [{}, {}];
    const reasons: string[] = [];
    const check = async (name: string, who?: object): Promise<void> =>
      void reasons.push((await email.check(`ada@${name}.example.org`, who)).reason);
    for (const name of ['a', 'b', 'c', 'a']) await check(name, session);
    await check('d', other);
    await check('e');
    clock.advance(29_000);
    await check('f', session);
    clock.advance(1_000);
    await check('f', session);
    await check('g', session);
    const found = 'no-such-domain';
    const spent = 'session-budget';
    expect(reasons).toEqual([found, found, spent, found, found, found, spent, found, spent]);
    expect(dns.questions).toHaveLength(5);
  });

  it('is more than the share of the process, whose end costs no session anything', async () => {
    const email = wsEmail({ lookupsPerSecond: 3, lookupsPerMinutePerSession: 1 });
    const check = async (name: string, who: object): Promise<string> =>
      (await email.check(`ada@${name}.example.org`, who)).reason;
    const late = {};
    for (const name of ['a', 'b', 'c']) expect(await check(name, {})).toBe('no-such-domain');
    expect(await check('d', late)).toBe('process-budget');
    clock.advance(400);
    expect(await check('d', late)).toBe('no-such-domain');
    expect(dns.questions).toHaveLength(4);
  });
});

describe('the options', () => {
  it.each([
    [{ servers: ['127.0.0.1:53', 'localhost:5353', '[::1]:53', '::1', '192.0.2.1'] }],
    [{ servers: undefined, timeoutMs: 1, maxCacheEntries: 0 }],
  ])('may be %j', (options) => {
    expect(() => new WsEmail(options)).not.toThrow();
  });

  it.each([
    [{ servers: [] }, /^email\.servers must be a list of 1 to 16/],
    [{ servers: ['dns.example.org:53'] }, /^email\.servers must hold DNS servers as .* got "dns\.example\.org:53"$/],
    [{ servers: ['127.0.0.1:0'] }, /servers/],
    [{ servers: ['127.0.0.1:65536'] }, /servers/],
    [{ servers: ['[127.0.0.1]:53'] }, /servers/],
    [{ servers: [''] }, /servers/],
    [{ timeoutMs: Infinity }, /^email\.timeoutMs must be an integer from 1 to 30000, got Infinity$/],
    [{ failureTtlSec: 0 }, /failureTtlSec/],
    [{ minTtlSec: 4_000 }, /^email\.minTtlSec must not be more than maxTtlSec$/],
    [{ disposableDomains: ['*.trash.example'] }, /^email\.disposableDomains must hold domains/],
    [{ disposableDomains: 'trash.example' as never }, /disposableDomains must be a list/],
    [{ refuseUnknown: 1 as never }, /refuseUnknown must be true or false/],
    [{ checkMx: true } as never, /^email\.checkMx is not an option$/],
  ])('may not be %j', (options: EmailOptions, message) => {
    expect(() => new WsEmail(options)).toThrow(message);
  });
});

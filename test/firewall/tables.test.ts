import { array, assert, integer, property } from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BadTokens } from '../../src/firewall/bad-tokens.js';
import { BanTable } from '../../src/firewall/bans.js';
import type { Ban } from '../../src/firewall/bans.js';
import { LeakyCounter, TokenBucket } from '../../src/base/token-bucket.js';
import { AddressUsage, UsageTable } from '../../src/firewall/usage.js';
import { FIREWALL } from '../../src/firewall/options.js';

const options = { ...FIREWALL.fallback, origins: undefined, proxyHeader: undefined, dryRun: [] };

describe('a bucket', () => {
  it('says exactly when there is enough again', () => {
    const time = integer({ min: 0, max: 50 });
    assert(
      property(integer({ min: 1, max: 1_000 }), integer({ min: 1, max: 5 }), array(time), (rate, burst, times) => {
        const bucket = new TokenBucket(burst, 0);
        let now = 0;
        for (const step of times) {
          now += step;
          const wait = bucket.take(1, rate, burst, now);
          if (wait === 0) continue;
          expect(wait === 1 || bucket.waitFor(1, rate, burst, now + wait - 1) > 0).toBe(true);
          expect(bucket.waitFor(1, rate, burst, now + wait)).toBe(0);
          now += wait;
        }
      }),
      { numRuns: 1_000 },
    );
  });

  it('lets through what its rate allows and its burst, and not one more', () => {
    const bucket = new TokenBucket(10, 0);
    let taken = 0;
    for (let now = 0; now < 10_000; now++) if (bucket.take(1, 50, 10, now) === 0) taken++;
    expect(taken).toBeGreaterThanOrEqual(508);
    expect(taken).toBeLessThanOrEqual(510);
  });

  it('that is larger than the burst is let through when it is full', () => {
    const bucket = new TokenBucket(10, 0);
    expect(bucket.take(25, 10, 10, 0)).toBe(0);
    expect(bucket.take(1, 10, 10, 0)).toBe(1_600);
  });

  it('without a limit never ends', () => {
    const bucket = new TokenBucket(Infinity, 0);
    for (let i = 0; i < 1_000; i++) expect(bucket.take(1, Infinity, Infinity, 0)).toBe(0);
    expect(new TokenBucket(5, 0).take(99, Infinity, 5, 0)).toBe(0);
  });
});

it('a tally is full with the last of so many within the time, and forgets as it passes', () => {
  const tally = new LeakyCounter();
  const add = (now: number): boolean => tally.add(3, 3_000, now);
  expect([add(0), add(1), add(2), add(3)]).toEqual([false, false, true, false]);
  expect([add(5_000), add(7_000), add(9_000), add(11_000)]).toEqual([false, false, false, false]);
});

describe('the table of peers', () => {
  const table = (): UsageTable<AddressUsage> => new UsageTable((key) => new AddressUsage(key, options, 0));

  it('holds a limited number of clients that have left, and all that are connected', () => {
    const peers = table();
    for (let i = 0; i < 1_000; i++) peers.hold(peers.of(`here ${i}`, 0));
    for (let i = 0; i < 120_000; i++) peers.of(`gone ${i}`, 0);
    expect(peers.size).toBe(51_000);
    const first = peers.of('here 0', 0);
    expect(first.users).toBe(1);
    peers.release(first, 0);
    expect(peers.size).toBe(50_999);
  });

  it('remembers whoever comes back, and forgets who does not', () => {
    const peers = table();
    const peer = peers.of('a', 0);
    peers.hold(peer);
    peers.release(peer, 1_000);
    expect(peers.of('a', 2_000)).toBe(peer);
    peers.sweep(600_000);
    expect(peers.size).toBe(1);
    peers.sweep(602_000);
    expect(peers.size).toBe(0);
  });
});

describe('the table of bad tokens', () => {
  it('says of each once within the time that it counts', () => {
    const tokens = new BadTokens();
    const isNew = (address: string, digest: string, now: number): boolean => tokens.isNew(address, digest, 60_000, now);
    expect([isNew('a', 'x', 0), isNew('a', 'x', 59_999), isNew('a', 'y', 0), isNew('b', 'x', 0)]).toEqual([
      true,
      false,
      true,
      true,
    ]);
    expect([isNew('a', 'x', 60_000), isNew('a', 'x', 61_000)]).toEqual([true, false]);
    tokens.sweep(60_000, 60_000);
    expect(tokens.size).toBe(1);
  });

  it('holds a limited number', () => {
    const tokens = new BadTokens();
    for (let i = 0; i < 25_000; i++) tokens.isNew('a', `${i}`, 60_000, 0);
    expect(tokens.size).toBe(10_000);
  });
});

describe('the table of bans', () => {
  const ban = { address: 'a', until: 1_700_000_000_000, reason: 'x' };
  const table = (expired: Ban[] = [], dropped: Ban[] = []): BanTable =>
    new BanTable(
      (over) => expired.push(over),
      (gone) => dropped.push(gone),
    );

  it('ends them by themselves, and remembers that they were', () => {
    const bans = table();
    bans.add('a', ban, 1_000, 0);
    expect(bans.leftMs('a', 999)).toBe(1);
    expect(bans.leftMs('a', 1_000)).toBe(0);
    expect(bans.levelOf('a', 1_000)).toBe(1);
    bans.add('a', ban, 500, 1_500);
    expect(bans.levelOf('a', 1_500)).toBe(2);
    bans.sweep(2_000 + 86_400_000);
    expect([bans.size, bans.levelOf('a', 2_000 + 86_400_000)]).toEqual([0, 0]);
  });

  it('holds a limited number, and reports what it drops', () => {
    const dropped: Ban[] = [];
    const bans = table([], dropped);
    for (let i = 0; i < 25_000; i++) bans.add(`k${i}`, { ...ban, address: `${i}` }, 1_000, 0);
    expect(bans.size).toBe(10_000);
    expect(bans.leftMs('k24999', 0)).toBe(1_000);
    expect(dropped).toHaveLength(15_000);
    expect(dropped[0]).toMatchObject({ address: '0' });
  });

  it('drops first what is over, of which there is nothing to tell', () => {
    const [expired, dropped]: [Ban[], Ban[]] = [[], []];
    const bans = table(expired, dropped);
    for (let i = 0; i < 10_000; i++) bans.add(`k${i}`, { ...ban, address: `${i}` }, i === 5_000 ? 10 : 1_000, 0);
    bans.add('one more', ban, 1_000, 500);
    expect([bans.size, bans.leftMs('k0', 500), bans.levelOf('k5000', 500)]).toEqual([10_000, 500, 0]);
    expect([expired.map((gone) => (gone as { address: string }).address), dropped]).toEqual([['5000'], []]);
  });

  it("never drops an operator's, nor shortens it, and refuses one too many", () => {
    const dropped: Ban[] = [];
    const bans = table([], dropped);
    const year = 31_536_000_000;
    for (let i = 0; i < 10_000; i++) bans.add(`manual ${i}`, ban, i === 0 ? 1_000 : year, 0, true);
    for (let i = 0; i < 20_000; i++) bans.add(`k${i}`, { ...ban, subject: `${i}` }, 60_000, 0);
    for (let i = 1; i < 10_000; i++) expect(bans.leftMs(`manual ${i}`, 0)).toBe(year);
    expect([bans.size, dropped.length]).toEqual([20_000, 10_000]);
    expect(() => bans.add('manual', ban, year, 0, true)).toThrow('10000 bans in force');
    expect(bans.size).toBe(20_000);
    bans.add('manual 7', ban, 60_000, 0);
    expect(bans.leftMs('manual 7', 0)).toBe(year);
    bans.add('manual 7', ban, 60_000, 0, true); // the operator's own word
    expect(bans.leftMs('manual 7', 0)).toBe(60_000);
    bans.add('manual', ban, year, 1_000, true); // the first one is over
    expect(bans.delete('manual', 1_000)).toBe(true);
    bans.add('another', ban, year, 1_000, true);
    bans.sweep(year + 86_400_000 + 1_000);
    expect(bans.size).toBe(0);
  });
});

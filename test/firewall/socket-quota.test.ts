import { describe, expect, it } from 'vitest';
import { rangesOf } from '../../src/firewall/client-address.js';
import { FIREWALL } from '../../src/firewall/options.js';
import type { ResolvedFirewall } from '../../src/firewall/options.js';
import { FirewallSockets } from '../../src/firewall/socket-quota.js';

const defaults = { ...FIREWALL.fallback, origins: undefined, proxyHeader: undefined, dryRun: [] } as ResolvedFirewall;

function quotaOf({ options = {}, connections = 0, descriptors = Infinity, proxy = '' } = {}): FirewallSockets {
  const rules = {
    isProxy: (address: string) => address === proxy,
    connections: () => connections,
    enforce: (_: string, __: string, error: () => Error) => {
      throw error();
    },
  };
  return new FirewallSockets({ ...defaults, ...options }, rules, descriptors);
}

/** How many sockets of these addresses, in turn, get in. */
function fill(quota: FirewallSockets, addressOf: (index: number) => string): number {
  for (let i = 0; i < 100_000; i++) {
    try {
      quota.checkAddress(addressOf(i));
      if (quota.isFull) quota.checkAll(addressOf(i));
    } catch {
      return i; // its error is what ends the count
    }
    quota.enter(addressOf(i));
  }
  return Infinity;
}

describe('the quota of sockets', () => {
  it.each([
    ['an address', {}, () => '192.0.2.1', 256],
    ['an IPv4 address in IPv6 clothes', {}, () => '::ffff:192.0.2.1', 256],
    ['a /64', {}, (i: number) => `2001:db8::${i.toString(16)}`, 256],
    ['a /56', {}, (i: number) => `2001:db8:0:${(i % 256).toString(16)}::1`, 500],
    ['a /48', {}, (i: number) => `2001:db8:0:${(i % 65_536).toString(16)}::1`, 5_000],
    ['a proxy', { proxy: '10.0.0.1' }, () => '10.0.0.1', 10_000],
    ['a Unix socket', {}, () => '', 10_000],
    ['the process', {}, (i: number) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, 20_000],
    ['an address that may have more connections', { options: { maxConnectionsPerAddress: 700 } }, () => '::1', 700],
    ['an address, of few descriptors', { descriptors: 512 }, () => '192.0.2.1', 128],
    ['the process, of few descriptors', { descriptors: 512 }, (i: number) => `10.0.0.${i}`, 448],
    ['the process, beside sessions', { descriptors: 512, connections: 400 }, (i: number) => `10.0.0.${i}`, 48],
  ] as [string, object, (index: number) => string, number][])('of %s', (_, setup, addressOf, expected) => {
    const quota = quotaOf(setup);
    expect(fill(quota, addressOf)).toBe(expected);
    for (let i = 0; i < expected; i++) quota.leave(addressOf(i));
    expect([quota.size, quota.ranges]).toEqual([0, 0]);
  });

  it('is off where the options say so', () => {
    const options = { maxSockets: Infinity, maxSocketsPerAddress: Infinity, maxSocketsPerProxy: Infinity };
    expect(fill(quotaOf({ options, descriptors: 100 }), () => '192.0.2.1')).toBe(Infinity);
    expect(fill(quotaOf({ options, descriptors: 100 }), () => '')).toBe(Infinity);
  });
});

it('an address counts in its ranges', () => {
  expect(rangesOf('192.0.2.1')).toEqual(['192.0.2.1']);
  expect(rangesOf('2001:db8:0:12ff::5')).toEqual(['2001:db8:0:12ff::/64', '2001:db8:0:1200::/56', '2001:db8:0::/48']);
});

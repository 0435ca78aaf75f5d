import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { ClientAddresses, countedAs, normalised } from '../../src/firewall/client-address.js';
import { AddressList, isRange } from '../../src/firewall/address-list.js';
import type { ResolvedFirewall } from '../../src/firewall/options.js';

const PROXY = '10.0.0.1';

/** The client of a request that came over a TCP connection from `peer`. */
function clientOf(
  trustProxy: ResolvedFirewall['trustProxy'],
  headers: Record<string, string>,
  { peer = PROXY, proxyHeader }: { peer?: string; proxyHeader?: ResolvedFirewall['proxyHeader'] } = {},
): string {
  const addresses = new ClientAddresses({ trustProxy, proxyHeader });
  const socket = { remoteAddress: peer, localAddress: '10.0.0.9', destroyed: false };
  // because this is all that is asked of the two
  return addresses.of({ headers } as unknown as IncomingMessage, socket as unknown as Duplex);
}

const xff = (value: string): Record<string, string> => ({ 'x-forwarded-for': value });

describe('the address of a client', () => {
  it('is the peer, whatever headers say, where no proxy is trusted', () => {
    expect(clientOf(false, { ...xff('1.2.3.4'), forwarded: 'for=1.2.3.5' })).toBe(PROXY);
    expect(clientOf(['192.168.0.0/16'], xff('1.2.3.4'))).toBe(PROXY);
  });

  it.each<[number, string, string]>([
    [1, '1.2.3.4', '1.2.3.4'],
    [1, '6.6.6.6, 1.2.3.4', '1.2.3.4'],
    [2, '6.6.6.6, 1.2.3.4, 10.0.0.2', '1.2.3.4'],
    [2, '1.2.3.4', '1.2.3.4'],
    [1, '1.2.3.4:5678', '1.2.3.4'],
    [1, '[2001:db8::1]:443', '2001:db8::1'],
    [1, '2001:DB8:0:0::1', '2001:db8::1'],
    [1, '::ffff:1.2.3.4', '1.2.3.4'],
    [1, 'unknown', PROXY],
    [1, '1.2.3.4, nonsense', PROXY],
    [1, '', PROXY],
    [2, 'nonsense, 1.2.3.4', '1.2.3.4'],
    [1, '1.2.3.4.5', PROXY],
    [1, ` 1.2.3.4\t`, '1.2.3.4'],
  ])('behind %d proxies that say %j is %s', (hops, header, client) => {
    expect(clientOf(hops, xff(header))).toBe(client);
  });

  it.each<[string, string]>([
    ['6.6.6.6, 1.2.3.4, 10.0.0.2', '1.2.3.4'],
    ['6.6.6.6, 10.0.0.3, 1.2.3.4, 10.0.0.2', '1.2.3.4'],
    ['10.0.0.4, 10.0.0.2', '10.0.0.4'],
    ['1.2.3.4, garbage', PROXY],
  ])('behind proxies of 10.0.0.0/8 that say %j is %s', (header, client) => {
    expect(clientOf(['10.0.0.0/8'], xff(header))).toBe(client);
  });

  it.each<[string, string]>([
    ['for=1.2.3.4', '1.2.3.4'],
    ['for=6.6.6.6, For="1.2.3.4:99";proto=https;by=10.0.0.1', '1.2.3.4'],
    ['proto=https; for="[2001:db8::1]:4711"', '2001:db8::1'],
    ['for=_hidden', PROXY],
    ['proto=https', PROXY],
  ])('is read of Forwarded: %s', (forwarded, client) => {
    expect(clientOf(1, { forwarded })).toBe(client);
  });

  it('is refused when two headers disagree, unless one is named', () => {
    const both = { ...xff('1.2.3.4'), forwarded: 'for=5.6.7.8' };
    expect(() => clientOf(1, both)).toThrow('disagree');
    expect(clientOf(1, { ...xff('1.2.3.4'), forwarded: 'for=1.2.3.4' })).toBe('1.2.3.4');
    expect(clientOf(1, both, { proxyHeader: 'forwarded' })).toBe('5.6.7.8');
    expect(clientOf(1, both, { proxyHeader: 'x-forwarded-for' })).toBe('1.2.3.4');
  });

  it('is what the proxy on a Unix domain socket says, where proxies are trusted by address', () => {
    const of = (socket: object, trustProxy: ResolvedFirewall['trustProxy'], header: string): string =>
      new ClientAddresses({ trustProxy, proxyHeader: undefined }).of(
        { headers: xff(header) } as unknown as IncomingMessage, // because this is all that is asked of the two
        { destroyed: false, ...socket } as unknown as Duplex,
      );
    expect(of({}, ['127.0.0.1'], '6.6.6.6, 1.2.3.4')).toBe('1.2.3.4');
    expect(of({}, ['10.0.0.0/8'], '6.6.6.6, 1.2.3.4, 10.0.0.2')).toBe('1.2.3.4');
    expect(of({}, false, '1.2.3.4')).toBe('');
    // The same from a TCP connection that is reset already: it has lost its peer's address, and is no proxy for that.
    expect(of({ localAddress: '10.0.0.9' }, ['127.0.0.1'], '1.2.3.4')).toBe('');
    expect(of({ destroyed: true }, ['127.0.0.1'], '1.2.3.4')).toBe('');
  });

  it('tells of a header that is not believed', () => {
    const told: string[] = [];
    const addresses = new ClientAddresses({ trustProxy: ['10.0.0.0/8'], proxyHeader: undefined }, (peer) =>
      told.push(peer),
    );
    const ask = (headers: object, remoteAddress: string): string =>
      addresses.of({ headers } as unknown as IncomingMessage, { remoteAddress } as unknown as Duplex);
    ask({}, '192.0.2.1');
    ask(xff('1.2.3.4'), '10.0.0.1');
    expect(told).toEqual([]);
    ask(xff('1.2.3.4'), '192.0.2.1');
    ask({ forwarded: 'for=1.2.3.4' }, '192.0.2.2');
    expect(told).toEqual(['192.0.2.1', '192.0.2.2']);
  });

  it('has one form, and IPv6 counts by its /64', () => {
    expect(normalised('::FFFF:127.0.0.1')).toBe('127.0.0.1');
    expect(normalised('fe80::1%eth0')).toBe('fe80::1');
    expect(normalised('1.2.3')).toBeUndefined();
    expect(countedAs('1.2.3.4')).toBe('1.2.3.4');
    expect(countedAs('2001:db8:1:2:3::4')).toBe(countedAs('2001:db8:1:2:ffff::1'));
    expect(countedAs('2001:db8:1:2::')).not.toBe(countedAs('2001:db8:1:3::'));
  });
});

describe('a list of addresses', () => {
  it('has what is in its ranges', () => {
    const list = new AddressList(['10.0.0.0/8', '192.0.2.1', '2001:db8::/32']);
    for (const address of ['10.255.0.1', '192.0.2.1', '2001:db8:ffff::1'])
      expect([address, list.has(address)]).toEqual([address, true]);
    for (const address of ['11.0.0.1', '192.0.2.2', '2001:db9::1', '', 'x'])
      expect([address, list.has(address)]).toEqual([address, false]);
    expect(new AddressList([]).has('10.0.0.1')).toBe(false);
  });

  it.each(['10.0.0.0/8', '1.2.3.4', '::1', '2001:db8::/32', '0.0.0.0/0'])('takes %s', (range) => {
    expect(isRange(range)).toBe(true);
  });

  it.each(['10.0.0.0/33', '10.0/8', 'x', '', '10.0.0.0/', '::/129', 'localhost', 1, '10.0.0.1 '])(
    'refuses %j',
    (range) => {
      expect(isRange(range)).toBe(false);
    },
  );
});

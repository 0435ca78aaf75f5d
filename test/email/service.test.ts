import { afterEach, describe, expect, it } from 'vitest';
import { Client } from '../support/client.js';
import { DnsServer, stopDnsServers } from '../support/dns-server.js';
import { run, startService, stopServices } from '../support/service.js';
import { SECRET, token } from '../support/tokens.js';

const environment = { JWT_SECRET: SECRET, LOG_FORMAT: 'json' };

afterEach(async () => {
  await stopServices();
  await stopDnsServers();
});

describe('the standalone service', () => {
  it('asks the configured servers with EMAIL_CHECK_MX, and says what they said', async () => {
    const dns = await DnsServer.start();
    dns.set('example.org', { MX: { records: [{ mx: 'mail.example.org' }] } });
    dns.set('fail.example', { rcode: 'SERVFAIL' });
    const { url, output } = await startService({
      ...environment,
      EMAIL_CHECK_MX: 'true',
      EMAIL_DNS_SERVERS: `127.0.0.1:${dns.port}, localhost:${dns.port}`,
    });
    const client = await Client.connect(url, { token: token() });
    const ask = async (email: string): Promise<unknown> =>
      (await client.ask({ event: 'email', data: { email }, id: 1 })).data;
    expect(await ask('Ada@EXAMPLE.org')).toEqual({
      email: 'Ada@example.org',
      valid: true,
      verdict: 'deliverable',
      reason: 'mx',
    });
    expect(await ask('ada@fail.example')).toMatchObject({ valid: true, verdict: 'unknown', reason: 'dns-failure' });
    expect(await ask('ada@secret-domain.example')).toMatchObject({
      code: 'VALIDATION_FAILED',
      details: [{ path: 'email', rule: 'isDeliverableEmail' }],
    });
    await expect.poll(output).toContain('VALIDATION_FAILED'); // the line comes through a pipe
    expect(output()).not.toContain('secret-domain');
  });

  it('asks nobody without it', async () => {
    const dns = await DnsServer.start();
    const { url } = await startService({ ...environment, EMAIL_DNS_SERVERS: dns.address });
    const client = await Client.connect(url, { token: token() });
    expect(await client.ask({ event: 'email', data: { email: 'ada@nowhere.example' }, id: 1 })).toMatchObject({
      data: { email: 'ada@nowhere.example', valid: true },
    });
    expect(dns.questions).toEqual([]);
  });

  it('names the variable that is wrong', async () => {
    const { exited, output } = run([], {
      ...environment,
      EMAIL_CHECK_MX: 'yes',
      EMAIL_DNS_SERVERS: 'dns.example.org:53',
    });
    expect(await exited).toBe(1);
    expect(output()).toContain('EMAIL_CHECK_MX must be one of true, false, got "yes"');
    expect(output()).toContain('EMAIL_DNS_SERVERS must hold DNS servers as "192.0.2.1:53"');
  });
});

import type { INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Client } from '../support/client.js';
import { DnsServer, stopDnsServers } from '../support/dns-server.js';

let app: INestApplication;
let url: string;

beforeEach(async () => {
  const dns = await DnsServer.start();
  dns.set('xn--bcher-kva.example', { MX: { records: [{ mx: 'mail.example.org' }] } });
  dns.set('no-mail.example', { MX: { records: [{ mx: '.', priority: 0 }] } });
  vi.stubEnv('EMAIL_DNS_SERVERS', dns.address); // read when the application's file is loaded
  const { AppModule } = await import('./sign-up.js');
  app = await NestFactory.create(AppModule, { logger: false });
  await app.listen(0, '127.0.0.1');
  url = `ws://127.0.0.1:${(app.getHttpServer() as { address(): AddressInfo }).address().port}/ws`;
});
afterEach(async () => {
  await app.close();
  await stopDnsServers();
  vi.unstubAllEnvs();
});

describe('the sign-up application of the README', () => {
  it('takes what can be delivered to, normalised, refuses the rest, and says why when it is asked', async () => {
    const client = await Client.connect(url);
    const ask = async (event: string, email: string): Promise<unknown> =>
      (await client.ask({ event, data: { email }, id: 1 })).data;
    expect(await ask('sign-up', 'Ada@BÜCHER.example')).toEqual({ mailTo: 'Ada@xn--bcher-kva.example' });
    const refused = { code: 'VALIDATION_FAILED', details: [{ path: 'email', rule: 'isDeliverableEmail' }] };
    for (const domain of ['no-mail.example', 'nowhere.example', 'trash.example']) {
      expect(await ask('sign-up', `ada@${domain}`)).toMatchObject(refused);
    }
    expect(await ask('email.check', 'ada@no-mail.example')).toEqual({ verdict: 'undeliverable', reason: 'null-mx' });
    await client.close();
  });
});

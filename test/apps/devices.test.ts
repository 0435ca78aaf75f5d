import { createHmac } from 'node:crypto';
import { NestFactory } from '@nestjs/core';
import type { INestApplication } from '@nestjs/common';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Client, refusal } from '../support/client.js';
import { signed } from '../support/tokens.js';
import { DevicesModule } from './devices/devices.module.js';

let app: INestApplication;
let url: string;
beforeEach(async () => {
  app = await NestFactory.create(DevicesModule, { logger: false });
  await app.listen(0, '127.0.0.1');
  url = `${(await app.getUrl()).replace('http', 'ws')}/ws`;
});
afterEach(() => app.close());

const basic = (text: string): Record<string, string> => ({
  authorization: `Basic ${Buffer.from(text).toString('base64')}`,
});

function signature(device: string, key: string, time = Date.now()): Record<string, string> {
  const mac = createHmac('sha256', key).update(`/ws ${time}`).digest('base64');
  return { 'x-device': device, 'x-time': String(time), 'x-signature': mac };
}

const KEY = 'the-key-of-meter-3-of-32-bytes-or-more';

it.each([
  ['an API key in a header', '', { 'X-API-Key': 'key-of-meter-1' }, 'meter-1', ['device']],
  ['an API key in the query', '?key=key-of-meter-1', {}, 'meter-1', ['device']],
  ['a password', '', basic('meter-2:s3cret:of:meter-2'), 'meter-2', ['device']],
  ['a signature', '', signature('meter-3', KEY), 'meter-3', ['device']],
  [
    'a bearer token',
    '',
    { authorization: `Bearer ${signed({ roles: ['buyer'] }, { key: 'a-secret-for-people-of-32-bytes-or-more' })}` },
    'ada',
    ['buyer'],
  ],
])('the devices application of the README takes %s', async (_, query, headers, subject, roles) => {
  const client = await Client.connect(`${url}${query}`, { headers });
  expect(await client.ask({ event: 'session', id: 1 })).toMatchObject({ data: { subject, roles } });
});

it.each([
  ['another key', { 'x-api-key': 'key-of-meter-9' }, 'TOKEN_INVALID'],
  ['another password', basic('meter-2:s3cret'), 'TOKEN_INVALID'],
  ['a key of another device', signature('meter-3', 'another-key-of-32-bytes-or-more-too'), 'FORBIDDEN'],
  ['an old signature', signature('meter-3', KEY, Date.now() - 120_000), 'FORBIDDEN'],
  ['an API key as a bearer token', { authorization: 'Bearer key-of-meter-1' }, 'TOKEN_INVALID'],
])('and refuses %s', async (_, headers, code) => {
  const client = await Client.connect(url, { headers });
  expect(await client.next()).toMatchObject({ event: 'disconnect', data: { code } });
});

it('and refuses a client with nothing', async () => {
  expect(await (await Client.connect(url)).next()).toMatchObject({ data: { code: 'FORBIDDEN' } });
  expect(
    await refusal(url, { headers: { origin: 'https://evil.test', ...basic('meter-2:s3cret:of:meter-2') } }),
  ).toMatchObject({ status: 403, body: { code: 'ORIGIN_FORBIDDEN' } });
});

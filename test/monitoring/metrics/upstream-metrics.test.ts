import { afterEach, expect, it } from 'vitest';
import { WsMetrics } from '../../../src/index.js';
import { startApp, stopApps } from '../../support/app.js';
import { refusal } from '../../support/client.js';
import { samplesOf, valueOf } from '../../support/metrics.js';
import { RawClient } from '../../support/raw-client.js';
import { token } from '../../support/tokens.js';
import { UpstreamApp } from '../../support/upstream.js';

afterEach(stopApps);

it('counts what is between the gateway and the applications behind it', async () => {
  const application = await UpstreamApp.start();
  const { app, url } = await startApp({
    options: {
      monitoring: { metrics: true },
      auth: { sources: ['header'] },
      upstreams: { '/chat': { urls: [application.url] }, '/:room/gone': { urls: ['ws://127.0.0.1:1'] } },
    },
  });
  const read = async (): Promise<(name: string, labels: Record<string, string>) => number | undefined> => {
    const samples = samplesOf((await app.get(WsMetrics).text()).body);
    return (name, labels) => valueOf(samples, `ws_gateway_upstream_${name}`, labels);
  };
  const client = await RawClient.connect(`${url}/chat`, { token: token() });
  client.send('abcd');
  client.send(Buffer.from([1, 2]));
  expect([await client.next(), await client.next()]).toEqual(['abcd', Buffer.from([1, 2])]);
  const headers = { authorization: `Bearer ${token()}` };
  expect(await refusal(`${url}/one/gone`, { headers })).toMatchObject({ status: 503 });
  expect(await refusal(`${url}/two/gone`, { headers })).toMatchObject({ status: 503 });

  const value = await read();
  const chat = { upstream: '/chat' };
  for (const direction of ['up', 'down']) {
    expect(value('messages_total', { ...chat, direction })).toBe(2);
    expect(value('bytes_total', { ...chat, direction })).toBe(6);
  }
  expect(value('connections', chat)).toBe(1);
  expect(value('up', chat)).toBe(1);
  expect(value('connect_seconds_count', chat)).toBe(1);
  expect(value('connect_seconds_bucket', { ...chat, le: '+Inf' })).toBe(1);
  expect(value('connect_seconds_sum', chat)).toBe(0); // the clock stands still
  const gone = { upstream: '/:room/gone' };
  expect(value('failures_total', { ...gone, reason: 'unreachable' })).toBe(2);
  expect(value('up', gone)).toBe(0);

  await application.stop();
  await client.closed;
  const after = await read();
  expect(after('connections', chat)).toBe(0);
  expect(after('failures_total', { ...chat, reason: 'broken' })).toBe(1);
});

import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { IsInt, IsString } from 'class-validator';
import { afterEach, describe, expect, it } from 'vitest';
import { WebSocketServer } from 'ws';
import { ERRORS, GatewayError } from '../../../src/index.js';
import { Public, RateLimit, Roles } from '../../../src/index.js';
import { adviseOnEnd, adviseOnException } from '../../../src/service/command/advice.js';
import { tryOut } from '../../../src/service/command/try.js';
import { startApp, stopApps } from '../../support/app.js';
import { run, startService, stopServices } from '../../support/service.js';
import { SECRET, token } from '../../support/tokens.js';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  await stopServices();
  await stopApps();
  for (const close of closers.splice(0)) await close();
});

async function attempt(...args: string[]): Promise<{ code: number | null; lines: string[] }> {
  const { exited, output } = run(['try', ...args]);
  const code = await exited;
  return { code, lines: output().trim().split('\n') };
}

class OrderDto {
  @IsString() article!: string;
  @IsInt() amount!: number;
}

@WebSocketGateway()
class OrdersGateway {
  @SubscribeMessage('order.place')
  place(@MessageBody() order: OrderDto): object {
    if (order.amount > 10) throw new GatewayError('OUT_OF_STOCK', { message: 'Not so much tea' });
    return { placed: order.article };
  }

  @Roles('admin')
  @SubscribeMessage('order.delete')
  delete(): string {
    return 'deleted';
  }

  @RateLimit({ limit: 1, perMs: 60_000 })
  @SubscribeMessage('order.count')
  count(): number {
    return 1;
  }

  @Public()
  @SubscribeMessage('order.break')
  break(): never {
    throw new Error('broken');
  }
}

const startOrders = async (): Promise<string> => `${(await startApp({ gateways: [OrdersGateway] })).url}/ws`;

describe('ws-gateway try', () => {
  it('sends any event with its data, and exits with 0 when it is answered', async () => {
    const url = await startOrders();
    const data = '{"article":"tea","amount":1}';
    const { code, lines } = await attempt('--url', url, '--token', token(), '--event', 'order.place', '--data', data);
    expect(code).toBe(0);
    expect(lines).toEqual([
      `connected to ${url}`,
      `→ {"event":"order.place","data":${data},"id":1}`,
      '← {"event":"order.place","data":{"placed":"tea"},"id":1}',
      'closed 1000',
    ]);
  });

  it('explains an exception in a sentence, and exits with 1', async () => {
    const url = await startOrders();
    const cases = [
      ['order.place', '{"amount":1}', /^VALIDATION_FAILED: .*\(article: .*\); mend what the details name before/],
      ['order.place', '{"article":"tea","amount":11}', /^OUT_OF_STOCK: Not so much tea; the same request fails again/],
      ['order.delete', 'null', /^FORBIDDEN: .*; send a token with the roles and scopes that this needs\.$/],
      ['order.none', 'null', /^UNKNOWN_EVENT: .*; send an event that a gateway at this path handles/],
      ['order.break', 'null', /^INTERNAL: .*; the fault is on the server, .* as incident \S+\.$/],
    ] as const;
    for (const [event, data, explained] of cases) {
      const { code, lines } = await attempt('--url', url, '--token', token(), '--event', event, '--data', data);
      expect(code).toBe(1);
      expect(lines.at(-2)).toMatch(explained);
    }
    const stranger = await attempt('--url', url, '--event', 'order.count');
    expect(stranger.code).toBe(1);
    expect(stranger.lines.at(-2)).toMatch(/^UNAUTHENTICATED: .*; send a token with --token/);
  });

  it('explains a close and a refused handshake, and exits with 1', async () => {
    const { url } = await startService({ JWT_SECRET: SECRET, LOG_FORMAT: 'json' });
    const bad = await attempt('--url', url, '--token', token({}, 'another-secret-of-at-least-32-bytes!'));
    expect(bad.code).toBe(1);
    expect(bad.lines.slice(-2)).toEqual([
      'closed 3000 TOKEN_INVALID',
      `TOKEN_INVALID: ${ERRORS.TOKEN_INVALID.message}; send a token that fits the key, the issuer and the audience of the gateway; its log has the reason.`,
    ]);
    const lost = await attempt('--url', `${url}/nowhere`);
    expect(lost.code).toBe(1);
    expect(lost.lines[0]).toBe('refused with 404');
    expect(lost.lines.at(-1)).toMatch(/^NOT_FOUND: .*; check the path of the URL/);
  });

  it('takes the pause from Retry-After', async () => {
    const server = createServer((_, response) => response.end());
    server.on('upgrade', (_, socket) => {
      const body = '{"code":"OVERLOADED","message":"The server is at capacity"}';
      socket.end(`HTTP/1.1 503 X\r\nRetry-After: 7\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    closers.push(() => server.close());
    const { code, lines } = await attempt('--url', `ws://127.0.0.1:${(server.address() as AddressInfo).port}`);
    expect([code, lines.at(-1)]).toEqual([1, 'OVERLOADED: The server is at capacity; connect again after 7000 ms.']);
  });

  it('exits with 2 without a connection or an answer, and shows what is no frame of the protocol', async () => {
    const nowhere = await attempt('--url', 'ws://127.0.0.1:9');
    expect(nowhere.code).toBe(2);
    expect(nowhere.lines).toHaveLength(1);
    expect(nowhere.lines[0]).toMatch(/^no connection to ws:\/\/127\.0\.0\.1:9: .*; no program listens there$/);
    const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
    closers.push(() => server.close());
    server.on('connection', (socket) => {
      socket.send('welcome \u001b[2J');
      setTimeout(() => socket.terminate(), 50);
    });
    await once(server, 'listening');
    const broken = await attempt('--url', `ws://127.0.0.1:${(server.address() as AddressInfo).port}`);
    expect(broken.code).toBe(2);
    expect(broken.lines.slice(-2)).toEqual(['← welcome \\u001b[2J', 'the connection broke before an answer']);
  });

  it('waits for an answer no longer than its patience', async () => {
    const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
    closers.push(() => server.close());
    await once(server, 'listening');
    const url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const request = { url, token: undefined, event: 'x', data: undefined, insecure: false };
    expect(await tryOut({ ...request, patienceMs: 50 })).toBe(2);
  });

  it.each([
    ['data that is no JSON', ['--event', 'x', '--data', '{article}'], '--data must be JSON'],
    ['data without an event', ['--data', '1'], '--data needs the event'],
    ['a text with an event', ['--event', 'x', '--text', 'y'], '--text is the data of the event message'],
    ['an event without a name', ['--event', ''], '--event must have 1 to 128 characters'],
    ['a URL that is none', ['--url', 'nowhere'], '--url: '],
    ['a token with a line feed', ['--token', 'a\nb'], '--token is not a token'],
  ])('says in one sentence what is wrong: %s', async (_, args, message) => {
    const { code, lines } = await attempt(...args);
    expect(code).toBe(1);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain(message);
  });
});

describe('the advice', () => {
  it('has one sentence for every code of the catalogue', () => {
    for (const code of Object.keys(ERRORS)) {
      for (const advise of [adviseOnException, adviseOnEnd]) expect(advise({ code })).toMatch(/^[A-Z\d_]+: .+; .+\.$/);
    }
  });

  it('prefers what the gateway said to what the catalogue says', () => {
    const limited = { code: 'RATE_LIMITED', message: 'Slow down', retryable: true, retryAfterMs: 250 };
    expect(adviseOnException(limited)).toBe(
      'RATE_LIMITED: Slow down; the same request may succeed later: send it again after 250 ms.',
    );
    expect(adviseOnEnd({ code: 'OWN_CODE', reconnect: true })).toMatch(/connect again after a pause/);
    expect(adviseOnEnd({ code: 'SHUTTING_DOWN', reconnect: false })).toMatch(/do not connect again/);
    expect(adviseOnException({ code: 'OWN_CODE', message: 'a\u001b[2Jb' })).toContain('a\\u001b[2Jb');
  });
});

import { Logger } from '@nestjs/common';
import type { Type } from '@nestjs/common';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { WsGatewayReload } from '../../src/index.js';
import { startApp, stopApps, unlimited } from '../support/app.js';
import { Client } from '../support/client.js';
import { SECRET, token } from '../support/tokens.js';

/** A gateway with these options, as an application that comes from another adapter has it. */
function gateway(options: object, port = 0): Type {
  @WebSocketGateway(port, options)
  class GivenGateway {
    @SubscribeMessage('echo') echo(): string {
      return 'heard';
    }
  }
  return GivenGateway;
}

const frameOf = (bytes: number): string => JSON.stringify({ event: 'ping', id: 1 }).padEnd(bytes);

afterEach(async () => {
  await stopApps();
  vi.restoreAllMocks();
});

describe('maxPayload of a decorator', () => {
  it.each([
    { maxPayload: 1_000, maxMessageBytes: 2_000 },
    { maxPayload: 2_000, maxMessageBytes: 1_000 },
  ])('counts where it is the smaller: $maxPayload beside $maxMessageBytes', async ({ maxPayload, maxMessageBytes }) => {
    const gateways = [gateway({ path: '/media', maxPayload })];
    const { url } = await startApp({ gateways, options: { limits: { maxMessageBytes } } });
    const client = await Client.connect(`${url}/media`, { token: token() });
    expect(await client.ask(frameOf(1_000))).toMatchObject({ id: 1 });
    client.send(frameOf(1_001));
    expect(await client.closed).toMatchObject({ code: 1009 });
  });

  it('is the smallest of all gateways of a path, and leaves other paths alone', async () => {
    const gateways = [gateway({ path: '/media' }), gateway({ path: '/other' })];
    @WebSocketGateway({ path: '/media', maxPayload: 1_000 })
    class SecondGateway {}
    const { url } = await startApp({ gateways: [...gateways.slice(0, 1), SecondGateway] });
    const media = await Client.connect(`${url}/media`, { token: token() });
    media.send(frameOf(1_001));
    expect(await media.closed).toMatchObject({ code: 1009 });
    const other = await Client.connect(`${url}/ws`, { token: token() });
    expect(await other.ask(frameOf(1_001))).toMatchObject({ id: 1 });
  });

  it('still counts for a session that is there when a reload raises the limit', async () => {
    const gateways = [gateway({ path: '/media', maxPayload: 1_000 })];
    const { app, url } = await startApp({ gateways });
    const client = await Client.connect(`${url}/media`, { token: token() });
    const options = { auth: { jwt: { secret: SECRET } }, limits: { maxMessageBytes: 100_000 } };
    const { changed } = await app.get(WsGatewayReload).replace(unlimited(options));
    expect(changed).toContain('limits.maxMessageBytes');
    client.send(frameOf(1_001));
    expect(await client.closed).toMatchObject({ code: 1009 });
  });
});

it.each([
  [true, 'permessage-deflate; server_no_context_takeover; client_no_context_takeover', false],
  [{ threshold: 10 }, 'permessage-deflate; server_no_context_takeover; client_no_context_takeover', false],
  [false, '', true],
])('takes perMessageDeflate %j as compression of the path', async (perMessageDeflate, extensions, compression) => {
  const { url } = await startApp({
    gateways: [gateway({ path: '/media', perMessageDeflate })],
    options: { compression },
  });
  const media = await Client.connect(`${url}/media`, { token: token(), perMessageDeflate: true });
  expect(media.socket.extensions).toBe(extensions === '' ? '' : 'permessage-deflate');
  const other = await Client.connect(`${url}/ws`, { token: token(), perMessageDeflate: true });
  expect(other.socket.extensions).toBe(compression ? 'permessage-deflate' : '');
});

describe('an option that would open or close a door', () => {
  it.each([
    ['verifyClient', '@UseConnectionGuards()'],
    ['allowRequest', '@UseConnectionGuards()'],
    ['handleProtocols', '@UseProtocol()'],
    ['maxHttpBufferSize', 'maxPayload'],
    ['skipUTF8Validation', '@SubscribeBinary()'],
    ['server', 'first argument'],
    ['port', 'first argument'],
    ['host', 'app.listen(port, host)'],
  ])('stops the start: %s', async (name, instead) => {
    const started = startApp({ gateways: [gateway({ [name]: () => false })] });
    await expect(started).rejects.toThrow(`@WebSocketGateway() of GivenGateway: options.${name} has no effect here`);
    await expect(started).rejects.toThrow(instead);
  });

  it('is named in one error with every other one, also of the second gateway of a path', async () => {
    @WebSocketGateway({ verifyClient: () => false, maxPayload: 0 } as object)
    class SecondGateway {}
    const started = startApp({ gateways: [gateway({ handleProtocols: () => false }), SecondGateway] });
    await expect(started).rejects.toThrow(
      /handleProtocols.*\n.*verifyClient.*\n.*maxPayload must be an integer of at least 1, got 0/,
    );
  });
});

it.each(['/ws', undefined, '/media'])('warns of options without effect at %s', async (path) => {
  const warned = vi.spyOn(Logger.prototype, 'warn');
  await startApp({ gateways: [gateway({ path, cors: true, transports: ['websocket'] })] });
  expect(warned).toHaveBeenCalledWith(
    '@WebSocketGateway() of GivenGateway has options without effect: cors, transports',
  );
});

import { Logger } from '@nestjs/common';
import type { Type } from '@nestjs/common';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Group } from '../../src/base/options.js';
import { DOORS } from '../../src/connection/gateway-options.js';
import * as PUBLIC from '../../src/index.js';
import { WsGatewayReload } from '../../src/index.js';
import { WS_GATEWAY } from '../../src/ws-gateway.options.js';
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

/** `group.name` of every option of the module. */
const OPTIONS = new Set(
  Object.entries(WS_GATEWAY.members).flatMap(([name, option]) =>
    option instanceof Group ? Object.keys(option.members as object).map((one) => `${name}.${one}`) : [],
  ),
);

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

  it.each([
    { maxPayload: 1_000, own: 2_000, module: 500 },
    { maxPayload: 2_000, own: 1_000, module: 4_000 },
  ])('is compared with the limit of the path: $maxPayload beside $own', async ({ maxPayload, own, module }) => {
    const limits = { maxMessageBytes: module };
    const paths = { '/media': { limits: { maxMessageBytes: own } } };
    const { url } = await startApp({ gateways: [gateway({ path: '/media', maxPayload })], options: { limits, paths } });
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

describe('two gateways of one path', () => {
  const two = (one: object, other: object): Promise<unknown> => {
    @WebSocketGateway({ path: '/media', ...other })
    class OtherGateway {}
    return startApp({ gateways: [gateway({ path: 'media/', ...one }), OtherGateway] });
  };

  it.each([
    [{ maxPayload: 1_000 }, { maxPayload: 2_000 }, 'maxPayload'],
    [{ perMessageDeflate: true }, { perMessageDeflate: false }, 'perMessageDeflate'],
    [{ perMessageDeflate: { threshold: 10 } }, { perMessageDeflate: true }, 'perMessageDeflate'],
    [{ perMessageDeflate: false }, { perMessageDeflate: { threshold: 10 } }, 'perMessageDeflate'],
  ])('that ask for different things stop the start: %j, %j', async (one, other, name) => {
    for (const [first, second] of [
      [one, other],
      [other, one],
    ] as const) {
      await expect(two(first, second)).rejects.toThrow(
        `GivenGateway and OtherGateway share /media and have different ${name}: give both the same, or one of them none`,
      );
    }
  });

  it.each([
    [{ maxPayload: 1_000, perMessageDeflate: true }, {}],
    [{}, { maxPayload: 1_000, perMessageDeflate: false }],
    [{ perMessageDeflate: true }, { perMessageDeflate: { threshold: 1_024 } }],
    [{ maxPayload: 1_000 }, { maxPayload: 1_000, perMessageDeflate: true }],
  ])('that agree, or of which one says nothing, start: %j, %j', async (one, other) => {
    await expect(two(one, other)).resolves.toBeDefined();
    await expect(two(other, one)).resolves.toBeDefined();
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

  // Of every kind that an application may have written, and falsy ones: what it asks for is in force nowhere.
  const values = [() => true, false, true, 0, 1, '', 'x', null, {}];
  const doors = [...DOORS].map(([name, instead], index) => ({ name, instead, value: values[index % values.length] }));

  it('is one of sixteen, or of more', () => expect(doors.length).toBeGreaterThanOrEqual(16));

  it.each(doors)('stops the start with $value, and names what to use: $name', async ({ name, instead, value }) => {
    const started = startApp({ gateways: [gateway({ [name]: value, path: '/door' })] });
    await expect(started).rejects.toThrow(
      `@WebSocketGateway() of GivenGateway: options.${name} has no effect here: ${instead}`,
    );
  });

  it('names an option, a decorator or a method that there is', () => {
    for (const { name, instead } of doors) {
      const options = instead.match(/\b[a-z]+\.[a-zA-Z]+\b(?!\()/g) ?? [];
      const decorators = [...instead.matchAll(/@(\w+)\(/g)].map(([, decorator = '']) => decorator);
      expect([name, options.filter((option) => !OPTIONS.has(option))]).toEqual([name, []]);
      const strange = decorators.filter((decorator) => !(decorator in PUBLIC) && decorator !== 'WebSocketGateway');
      expect([name, strange]).toEqual([name, []]);
    }
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

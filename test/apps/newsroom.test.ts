import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WsGatewayReload } from '../../src/index.js';
import type { PathOptions, ReloadReport } from '../../src/index.js';
import { startApp, stopApps, unlimited } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client, refusal } from '../support/client.js';
import { SECRET, token } from '../support/tokens.js';
import { AudioGateway, CamerasGateway, DeskGateway, options, TickerGateway } from './newsroom.js';

const gateways = [DeskGateway, AudioGateway, TickerGateway, CamerasGateway];
let test: TestApp;

beforeEach(async () => {
  test = await startApp({ gateways, options: options(SECRET) });
});
afterEach(stopApps);

const desk = (more = {}): Promise<Client> => Client.connect(`${test.url}/ws`, { token: token(), ...more });
const audio = (): Promise<Client> => Client.connect(`${test.url}/audio/studio`, { token: token() });
const ticker = (more = {}): Promise<Client> => Client.connect(`${test.url}/ticker`, more);

const { paths = {} } = options(SECRET);
/** The newsroom's options, with those of some paths replaced. */
const reload = (others: Record<string, PathOptions | undefined>): Promise<ReloadReport> => {
  const next = Object.entries({ ...paths, ...others }).filter(([, own]) => own !== undefined);
  const given = { ...options(SECRET), paths: Object.fromEntries(next) as Record<string, PathOptions> };
  return test.app.get(WsGatewayReload).replace(unlimited(given));
};
const frameOf = (bytes: number, event = 'ping'): string => JSON.stringify({ event, id: 1 }).padEnd(bytes);

describe('a path of the newsroom', () => {
  it('takes messages as large as it says, larger or smaller than the rest', async () => {
    const sound = await audio();
    sound.send(Buffer.alloc(1_048_576));
    expect(await sound.next()).toEqual({ event: 'binary', data: 'studio: 1048576 bytes' });
    sound.send(Buffer.alloc(1_048_577));
    expect(await sound.closed).toMatchObject({ code: 1009 });
    const line = await desk();
    expect(await line.ask(frameOf(16_384))).toMatchObject({ id: 1 });
    line.send(frameOf(16_385));
    expect(await line.closed).toMatchObject({ code: 1009 });
    const news = await ticker();
    expect(await news.ask(frameOf(512))).toMatchObject({ id: 1 });
    news.send(frameOf(513));
    expect(await news.closed).toMatchObject({ code: 1009 });
  });

  it('has a budget of its own', async () => {
    const news = await ticker();
    const answers = [];
    for (let i = 0; i < 6; i++) answers.push(await news.ask({ event: 'latest', id: i }));
    expect(answers.map(({ event }) => event)).toEqual([...Array<string>(5).fill('latest'), 'exception']);
    expect(answers.at(-1)?.data).toMatchObject({ code: 'RATE_LIMITED', retryAfterMs: 500 });
    const line = await desk();
    for (let i = 0; i < 20; i++)
      expect(await line.ask({ event: 'line', data: { text: 'x' }, id: i })).toMatchObject({ id: i, data: 'x' });
  });

  it('is the only one for strangers, who stay there', async () => {
    const news = await ticker();
    const stranger = await Client.connect(`${test.url}/ws`);
    test.clock.advance(10_000);
    expect((await stranger.closed).reason).toBe('AUTH_TIMEOUT');
    expect(await news.ask({ event: 'latest', id: 1 })).toMatchObject({ data: 'Nothing has happened' });
    expect(await news.ask({ event: 'session', id: 2 })).toMatchObject({ data: { code: 'UNAUTHENTICATED' } });
  });

  it('takes tokens from where it says, and from nowhere else', async () => {
    const camera = await Client.connect(`${test.url}/cameras?access_token=${token({ sub: 'camera-1' })}`);
    expect(await camera.ask({ event: 'whoami', id: 1 })).toMatchObject({ data: 'camera-1' });
    const headers = { authorization: `Bearer ${token()}` };
    expect(await refusal(`${test.url}/cameras`, { headers })).toMatchObject({ status: 401 });
    expect(await refusal(`${test.url}/cameras?access_token=bad`)).toMatchObject({ body: { code: 'TOKEN_INVALID' } });
    const elsewhere = await Client.connect(`${test.url}/ws?access_token=${token()}`);
    expect(await elsewhere.ask({ event: 'session', id: 1 })).toMatchObject({ data: { code: 'UNAUTHENTICATED' } });
    expect((await (await desk({ token: 'bad' })).closed).reason).toBe('TOKEN_INVALID'); // and rejects as the module does
  });

  it('is open to the pages that it lists', async () => {
    const headers = { origin: 'https://elsewhere.example.com' };
    expect(await (await ticker({ headers })).ask({ event: 'latest', id: 1 })).toMatchObject({ id: 1 });
    const bearer = { ...headers, authorization: `Bearer ${token()}` };
    expect(await refusal(`${test.url}/ws`, { headers: bearer })).toMatchObject({ status: 403 });
    const own = { origin: test.url.replace(/^ws/, 'http') };
    expect(await refusal(`${test.url}/cameras?access_token=${token()}`, { headers: own })).toMatchObject({
      status: 403,
    });
    expect(await (await desk({ headers: own })).ask({ event: 'ping', id: 1 })).toMatchObject({ id: 1 });
  });

  it('has a heartbeat of its own', async () => {
    const [sound, line] = [await audio(), await desk()];
    const pinged = (client: Client): Promise<void> =>
      new Promise((resolve) => client.socket.once('ping', () => resolve()));
    const ping = pinged(sound);
    sound.socket.pong = () => undefined; // what ws answers a ping with
    test.clock.advance(5_000);
    await ping;
    test.clock.advance(2_000);
    expect((await sound.closed).reason).toBe('NO_PONG');
    expect(await line.ask({ event: 'ping', id: 1 })).toMatchObject({ id: 1 });
  });
});

describe('a reload', () => {
  it('changes one path, also for the sessions that are there, and leaves the others as they are', async () => {
    const [sound, news, line] = [await audio(), await ticker(), await desk()];
    const report = await reload({ '/ticker': { ...paths['/ticker'], limits: { maxMessageBytes: 1_024 } } });
    const changed = ['maxMessageBytes', 'messageBurst', 'messagesPerSecond'];
    expect(report).toEqual({ changed: changed.map((name) => `paths["/ticker"].limits.${name}`), needRestart: [] });
    expect(await news.ask(frameOf(1_024))).toMatchObject({ id: 1 });
    news.send(frameOf(1_025));
    line.send(frameOf(16_385));
    sound.send(Buffer.alloc(1_048_576));
    expect(await sound.next()).toMatchObject({ data: 'studio: 1048576 bytes' });
    for (const client of [news, line]) expect(await client.closed).toMatchObject({ code: 1009 });
  });

  it('gives a path the options of the module again, and those of the module to all that have no others', async () => {
    const [sound, news] = [await audio(), await ticker()];
    const { changed } = await reload({ '/ticker': { auth: { anonymous: true } } });
    expect(changed).toContain('paths["/ticker"].limits.maxMessageBytes');
    expect(await news.ask(frameOf(16_384))).toMatchObject({ id: 1 });
    await test.app.get(WsGatewayReload).replace(unlimited({ ...options(SECRET), limits: { maxJsonDepth: 2 } }));
    const deep = { event: 'latest', data: { a: [1] }, id: 2 };
    expect(await news.ask(deep)).toMatchObject({ data: { code: 'BAD_FRAME' } });
    sound.send(deep);
    expect(await sound.next()).toMatchObject({ data: { code: 'BAD_FRAME' } });
  });

  it('brings options for a path that had none', async () => {
    const line = await desk();
    await reload({ '/ws': { limits: { maxMessageBytes: 100 } } });
    line.send(frameOf(101));
    expect(await line.closed).toMatchObject({ code: 1009 });
  });

  it('leaves until the restart who may be anonymous, and where tokens are looked for', async () => {
    const report = await reload({
      '/ticker': { firewall: { origins: ['*'] } },
      '/ws': { auth: { sources: ['query'] } },
    });
    expect(report.needRestart).toEqual(['paths["/ticker"].auth.anonymous', 'paths["/ws"].auth.sources']);
    expect(await (await ticker()).ask({ event: 'latest', id: 1 })).toMatchObject({ data: 'Nothing has happened' });
    expect(await (await desk()).ask({ event: 'line', data: { text: 'x' }, id: 1 })).toMatchObject({ data: 'x' });
  });

  it('is refused as a whole where it names a path of no gateway', async () => {
    const refused = reload({
      '/tikcer': { limits: { maxMessageBytes: 1 } },
      '/ws': { limits: { maxMessageBytes: 1 } },
    });
    await expect(refused).rejects.toThrow(
      'paths["/tikcer"] is the path of no gateway: there are gateways at /audio/:room, ',
    );
    expect(await (await desk()).ask(frameOf(1_000))).toMatchObject({ id: 1 });
  });
});

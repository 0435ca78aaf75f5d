import { randomUUID } from 'node:crypto';
import { afterEach, expect, it } from 'vitest';
import { startApp, stopApps, until } from '../support/app.js';
import { Client } from '../support/client.js';
import { token } from '../support/tokens.js';
import { AdminGateway, SiteGateway } from './visitors/visitors.js';

afterEach(stopApps);

const [ann, bob] = [randomUUID(), randomUUID()];

it('visitors of the README are counted once, wave to each other, and hear announcements', async () => {
  const { url } = await startApp({ options: { auth: { anonymous: true } }, gateways: [SiteGateway, AdminGateway] });
  const visit = async (): Promise<Client> => {
    const client = await Client.connect(`${url}/site`);
    expect((await client.next()).event).toBe('greeting');
    return client;
  };
  const enter = async (client: Client, visitor: string, page: string, language: string): Promise<unknown> => {
    client.send({ event: 'enter', data: { visitor, page, language }, id: 1 });
    const answer = () => client.frames.findLast(({ id }) => id === 1);
    await until(() => answer() !== undefined);
    return answer()?.data;
  };
  const got = (client: Client, event: string): unknown[] =>
    client.frames.filter((frame) => frame.event === event).map(({ data }) => data);

  const [first, tab, other, elsewhere] = [await visit(), await visit(), await visit(), await visit()];
  expect(await enter(first, ann, 'home', 'en')).toEqual({ online: 1, here: 1 });
  expect(await enter(tab, ann, 'home', 'en')).toEqual({ online: 1, here: 1 });
  expect(await enter(other, bob, 'home', 'de')).toEqual({ online: 2, here: 2 });
  expect(await enter(elsewhere, bob, 'imprint', 'de')).toEqual({ online: 2, here: 1 });
  await until(() => got(first, 'here').at(-1) === 2);

  other.send({ event: 'wave', data: { text: 'hi' } });
  await until(() => got(tab, 'waved').length === 1);
  expect([first, tab, other, elsewhere].map((client) => got(client, 'waved').length)).toEqual([1, 1, 0, 0]);

  const admin = await Client.connect(`${url}/admin`, { token: token({ roles: ['admin'] }) });
  const announce = async (data: object): Promise<unknown> => (await admin.ask({ event: 'announce', data, id: 2 })).data;
  expect(await announce({ text: 'Hallo', language: 'de' })).toBe(2);
  expect(await announce({ text: 'Bye' })).toBe(4);
  await until(() => got(elsewhere, 'announcement').length === 2 && got(first, 'announcement').length === 1);
  const { data } = await admin.ask({ event: 'visitors', data: { page: 'home' }, id: 3 });
  expect((data as { visitor: string }[]).map(({ visitor }) => visitor)).toEqual([bob, ann, ann]);

  const guest = await Client.connect(`${url}/admin`);
  expect((await guest.ask({ event: 'announce', data: { text: 'x' }, id: 4 })).data).toMatchObject({
    code: 'UNAUTHENTICATED',
  });
  other.socket.terminate();
  await until(() => got(first, 'here').at(-1) === 1);
});

import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { until } from '../support/app.js';
import { textFrame } from '../support/frames.js';
import { objects } from '../support/hostile-messages.js';
import { Miniature, withstands } from '../support/miniature.js';
import { token } from '../support/tokens.js';
import { Page } from './visitors/client.js';
import { VisitorsModule } from './visitors/visitors.js';

const secret = vi.hoisted(() => (process.env.JWT_SECRET = 'a-secret-of-the-blog-of-32-bytes-or-more'));
const [ann, bob, eve] = [randomUUID(), randomUUID(), randomUUID()];

let blog: Miniature;
beforeAll(async () => void (blog = await Miniature.start(VisitorsModule)));
afterAll(() => blog.stop());

const visit = async (): Promise<Page> => {
  const page = new Page(`${blog.url}/site`);
  await page.next('greeting');
  return page;
};
const enter = (client: Page, visitor: string, page: string, language: string): Promise<unknown> =>
  client.ask('enter', { visitor, page, language });
const got = ({ seen }: Page, type: string): unknown[] => seen.get(type) ?? [];

it('visitors of the README are counted once, wave to each other, and hear announcements', async () => {
  const [first, tab, other, elsewhere] = [await visit(), await visit(), await visit(), await visit()];
  expect(await enter(first, ann, 'home', 'en')).toEqual({ online: 1, here: 1 });
  expect(await enter(tab, ann, 'home', 'en')).toEqual({ online: 1, here: 1 });
  expect(await enter(other, bob, 'home', 'de')).toEqual({ online: 2, here: 2 });
  expect(await enter(elsewhere, bob, 'imprint', 'de')).toEqual({ online: 2, here: 1 });
  await until(() => got(first, 'here').at(-1) === 2);

  other.say('wave', { text: 'hi' });
  await until(() => got(tab, 'waved').length === 1);
  expect([first, tab, other, elsewhere].map((client) => got(client, 'waved').length)).toEqual([1, 1, 0, 0]);

  const admin = new Page(`${blog.url}/admin`, { authorization: `Bearer ${token({ roles: ['admin'] }, secret)}` });
  await once(admin.socket, 'open');
  expect(await admin.ask('announce', { text: 'Hallo', language: 'de' })).toBe(2);
  expect(await admin.ask('announce', { text: 'Bye' })).toBe(4);
  await until(() => got(elsewhere, 'announcement').length === 2 && got(first, 'announcement').length === 1);
  const visitors = (await admin.ask('visitors', { page: 'home' })) as { visitor: string }[];
  expect(visitors.map(({ visitor }) => visitor)).toEqual([bob, ann, ann]);

  const guest = new Page(`${blog.url}/admin`);
  await once(guest.socket, 'open');
  guest.say('announce', { text: 'x' });
  await until(() => got(guest, 'error').length === 1);
  expect(got(guest, 'error')).toMatchObject([{ code: 'UNAUTHENTICATED' }]);
  other.socket.terminate();
  await until(() => got(first, 'here').at(-1) === 1);

  for (const session of blog.sessions.find()) session.close('MAINTENANCE');
  const left = [first, tab, elsewhere, admin, guest];
  await until(() => left.every(({ socket }) => socket.readyState === socket.CLOSED));
  for (const page of left) expect(got(page, 'bye')).toEqual([{ code: 'MAINTENANCE', reconnect: false }]);
});

describe('their blog', () => {
  let page: Page;
  beforeAll(async () => void (page = await visit()));

  withstands({
    miniature: () => blog,
    attacker: () => ({ path: '/site' }),
    hostile: objects('type', 'payload', 'enter'),
    probe: textFrame(JSON.stringify({ type: 'wave', payload: { text: 'hi' } })),
    isServed: (message) => message === '{"type":"wave","payload":0}',
    isRefusal: (message) => message.toString().startsWith('{"type":"error"'),
    witness: async () => expect(await enter(page, eve, 'home', 'en')).toEqual({ online: 1, here: 1 }),
  });
});

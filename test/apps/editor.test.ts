import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { WebSocket } from 'ws';
import { WebsocketProvider } from 'y-websocket';
import { Doc } from 'yjs';
import { until } from '../support/app.js';
import { refusal } from '../support/client.js';
import { encodeFrame } from '../support/frames.js';
import { BINARY, objects } from '../support/hostile-messages.js';
import { Miniature, withstands } from '../support/miniature.js';
import { token } from '../support/tokens.js';
import { EditorModule } from './editor/editor.js';

const secret = vi.hoisted(() => (process.env.JWT_SECRET = 'a-secret-of-the-editor-of-32-bytes-or-more'));
const tokenOf = (sub: string, roles = ['editor']): string => token({ sub, roles }, secret);

let editor: Miniature;
beforeAll(async () => void (editor = await Miniature.start(EditorModule)));
afterAll(() => editor.stop());

/** What a page does: the credential is a subprotocol, since a browser sends no header. */
function open(name: string, sub: string, roles?: string[]): WebsocketProvider {
  return new WebsocketProvider(`${editor.url}/yjs`, name, new Doc(), {
    protocols: ['yjs', `bearer.${tokenOf(sub, roles)}`],
    WebSocketPolyfill: WebSocket as never, // because the types ask for the browser's
    disableBc: true, // or the two would talk beside the server
    maxBackoffTime: 50,
  });
}

const textOf = ({ doc }: WebsocketProvider): string => doc.getText('page').toString();
const write = ({ doc }: WebsocketProvider, text: string): void => doc.getText('page').insert(0, text);

describe('an editor with clients of y-websocket', () => {
  it('has both see what each of them writes, and where their cursors are', async () => {
    const ada = open('minutes', 'ada');
    write(ada, 'world');
    await until(() => ada.synced);
    const bob = open('minutes', 'bob');
    await until(() => textOf(bob) === 'world');
    write(bob, 'hello ');
    await until(() => textOf(ada) === 'hello world');
    ada.awareness.setLocalStateField('cursor', 5);
    await until(() => bob.awareness.getStates().get(ada.doc.clientID)?.cursor === 5);
    const cleo = open('minutes', 'cleo');
    await until(() => cleo.awareness.getStates().get(ada.doc.clientID)?.cursor === 5 && textOf(cleo) === 'hello world');
    const elsewhere = open('letter', 'dan');
    await until(() => elsewhere.synced);
    expect(textOf(elsewhere)).toBe('');
    for (const provider of [ada, bob, cleo, elsewhere]) provider.destroy();
    await until(() => editor.sessions.count() === 0);
  });

  it('brings them together again after a connection has broken', async () => {
    const [ada, bob] = [open('draft', 'ada'), open('draft', 'bob')];
    await until(() => ada.synced && bob.synced);
    for (const { socket } of editor.sessions.find({ subject: 'ada' })) socket.terminate();
    await until(() => !ada.wsconnected);
    write(ada, 'offline ');
    write(bob, 'online ');
    await until(() => textOf(ada) === textOf(bob) && textOf(ada).length === 15);
    for (const provider of [ada, bob]) provider.destroy();
  });

  it('lets nobody in without the role, and tells the page not to come back', async () => {
    expect(await refusal(`${editor.url}/yjs/minutes`)).toMatchObject({
      status: 401,
      body: { code: 'UNAUTHENTICATED' },
    });
    const reader = open('minutes', 'eve', ['reader']);
    const [event] = await once(reader as never, 'connection-close'); // because lib0's emitter has on() and once()
    expect(event).toMatchObject({ code: 3003, reason: 'FORBIDDEN' });
    reader.destroy();
  });
});

describe('an editor', () => {
  let ada: WebsocketProvider;
  let bob: WebsocketProvider;
  beforeAll(async () => {
    [ada, bob] = [open('attacked', 'ada'), open('attacked', 'bob')];
    await until(() => ada.synced && bob.synced);
  });
  afterAll(() => {
    for (const provider of [ada, bob]) provider.destroy();
  });

  let written = 0;
  withstands({
    miniature: () => editor,
    attacker: (n) => ({ path: '/yjs/attacked', headers: [`Authorization: Bearer ${tokenOf(`m${n}`)}`] }),
    hostile: [...objects('event', 'data', 'start'), ...BINARY],
    probe: encodeFrame({ opcode: 2, payload: Buffer.from([0, 0, 1, 0]) }),
    isServed: (message) => message[0] === 0 && message[1] === 1,
    isRefusal: () => false, // it closes
    harmless: /^a byte of 3$/, // which asks for the others' cursors
    witness: async () => {
      write(ada, String(++written % 10));
      await until(() => textOf(bob).length >= written);
      expect(textOf(bob)).toBe(textOf(ada));
    },
  });
});

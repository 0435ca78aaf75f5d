import { createElement, StrictMode, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { createClient } from '../../../src/client/index.js';
import { useChannel, useGateway, usePush, useStream } from '../../../src/client/react.js';
import { page } from './page.js';

const [url, token] = decodeURI(page.location.hash.slice(1)).split(' ') as [string, string]; // because the test writes it so
const client = createClient({ url, auth: { token: () => token }, timeoutMs: 60_000, connectTimeoutMs: 60_000 });

function App(): ReturnType<typeof createElement> {
  const { status } = useGateway(client);
  const [news, setNews] = useState('');
  usePush(client, 'news', (text) => setNews(String(text)));
  const { values, status: streamed } = useStream(client, 'numbers', undefined, { keep: 2 });
  const [said, setSaid] = useState<readonly string[]>([]);
  const room = useChannel<{ chat: string }>(client, 'room.1', { chat: (text) => setSaid((all) => [...all, text]) });
  const say = (): void => void room.publish('chat', `hi ${said.length}`);
  const text = [status, news, values.join(' '), streamed, said.join(' ')].join(' | ');
  return createElement('button', { onClick: say }, text);
}

const root = createRoot(page.document.querySelector('#root'));
root.render(createElement(StrictMode, null, createElement(App)));
Object.assign(globalThis, { unmount: () => root.unmount() });

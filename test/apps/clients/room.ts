import { createElement, useState } from 'react';
import { useChannel, useGateway } from '../../../src/client/react.js';
import { shop } from './shop.js';

export function Room({ name, reload }: { name: string; reload: () => void }): ReturnType<typeof createElement> {
  const { status, retryAt } = useGateway(shop);
  const [lines, setLines] = useState<readonly string[]>([]);
  const room = useChannel<{ 'chat.message': { text: string } }>(shop, name, {
    'chat.message': ({ text }) => setLines((before) => [...before, text]),
    gap: ({ reloadAfterMs }) => void setTimeout(reload, reloadAfterMs),
  });
  const say = (): void => void room.publish('chat.message', { text: 'hi' });
  const banner = retryAt === undefined ? status : `back at ${new Date(retryAt).toLocaleTimeString()}`;
  return createElement('button', { onClick: say }, `${banner}: ${lines.join(' ')}`);
}

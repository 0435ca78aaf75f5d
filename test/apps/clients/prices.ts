import { createElement, useState } from 'react';
import { useGateway, usePush, useStream } from '../../../src/client/react.js';
import { shop } from './shop.js';

export function Prices({ article }: { article: string }): ReturnType<typeof createElement> {
  const { status } = useGateway(shop);
  const [changed, setChanged] = useState(0);
  usePush(shop, 'order.changed', ({ number }) => setChanged(number));
  const { values } = useStream(shop, 'prices', { article }, { keep: 10 });
  return createElement('p', null, `${status}, order ${changed}, ${values.map(({ price }) => price).join(' ')}`);
}

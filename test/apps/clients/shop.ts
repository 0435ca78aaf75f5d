import { createClient, isConnectionError, isException } from '../../../src/client/index.js';

export interface Shop {
  requests: {
    'order.place': { data: { article: string; amount: number }; reply: { number: number }; errors: 'SOLD_OUT' };
    prices: { data: { article: string; since?: number }; reply: { at: number; price: number } };
  };
  pushes: { 'order.changed': { number: number; state: string } };
}

/** Where the application has its tokens. */
export const account = {
  token: ({ fresh }: { fresh: boolean }): Promise<string> => Promise.resolve(fresh ? 'fresh.jwt.token' : 'a.jwt.token'),
};

export const shop = createClient<Shop>({
  url: 'wss://api.example.com/ws',
  auth: { token: ({ reason }) => account.token({ fresh: reason === 'expired' }) },
});

export async function placeOrder(article: string): Promise<string> {
  try {
    const { number } = await shop.request('order.place', { article, amount: 1 });
    return `Order ${number}`;
  } catch (error) {
    if (isException(error, 'SOLD_OUT')) return 'Sold out';
    if (isConnectionError(error)) return error.maybeExecuted ? 'Look whether it was placed' : 'Not placed';
    throw error;
  }
}

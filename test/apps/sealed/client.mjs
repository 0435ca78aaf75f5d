import { open, seal } from './seal.mjs';

const { WebSocket } = globalThis.WebSocket === undefined ? await import('ws') : globalThis; // Node 20 has none of its own

/** Asks for a payout to an account that only the gateway is to see; resolves with its receipt. */
export async function payout({ url, token, subject, key }, { amount, iban }) {
  // Sealed before there is a socket: it may open while something is waited for.
  const data = { amount, iban: await seal(iban, { event: 'payout.request', subject }, key) };
  const socket = new WebSocket(url, ['ws-gateway.v1', `bearer.${token}`]);
  try {
    const reply = await new Promise((resolve, reject) => {
      socket.onopen = () => socket.send(JSON.stringify({ event: 'payout.request', data, id: 1 }));
      socket.onmessage = ({ data: text }) => resolve(JSON.parse(text));
      socket.onerror = () => reject(new Error('no connection'));
    });
    if (reply.event === 'exception') throw new Error(`${reply.data.code} ${JSON.stringify(reply.data.details)}`);
    return await open(reply.data.receipt, { event: 'payout.receipt', subject }, [key]);
  } finally {
    socket.close();
  }
}

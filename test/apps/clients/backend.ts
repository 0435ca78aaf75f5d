import { createClient } from '../../../src/client/index.js';
import { nodeSocket } from '../../../src/client/node.js';

export async function whoAmI(url: string, token: () => Promise<string>): Promise<string | undefined> {
  const client = createClient({ url, auth: { token }, createSocket: nodeSocket({ headers: { 'x-from': 'billing' } }) });
  try {
    return (await client.connect())?.subject;
  } finally {
    client.close(); // else it stays, and keeps the process
  }
}

import { afterEach, expect, it } from 'vitest';
import { startApp, stopApps, until } from '../support/app.js';
import { Client } from '../support/client.js';
import { jwk, startKeyServer, stopKeyServers } from '../support/jwks.js';
import { keyPair, signed } from '../support/tokens.js';

afterEach(stopApps);
afterEach(stopKeyServers);

it('a key that is taken back is missed, though all who come are remembered', async () => {
  const [old, young] = [keyPair('rsa'), keyPair('rsa')];
  const server = await startKeyServer({ keys: [jwk(old.publicKey, 'old')] });
  const { url, clock } = await startApp({ options: { auth: { jwt: { jwksUri: server.uri } } } });
  const bearer = signed({}, { key: old.privateKey, algorithm: 'RS256', kid: 'old' });
  const come = async (): Promise<string | undefined> => {
    const client = await Client.connect(`${url}/ws`, { token: bearer });
    client.send({ event: 'ping', id: 1 });
    const { event } = await client.next();
    client.socket.terminate();
    return event;
  };
  expect(await come()).toBe('pong');
  server.answer = { keys: [jwk(young.publicKey, 'young')] };
  clock.jump(600_000);
  expect(await come()).toBe('pong'); // stale, but it makes the keys be fetched
  await until(() => server.requests === 2);
  await expect.poll(come).toBe('disconnect');
});

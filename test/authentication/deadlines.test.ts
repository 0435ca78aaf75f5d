import { Injectable } from '@nestjs/common';
import { afterEach, expect, it } from 'vitest';
import { Deadlines } from '../../src/authentication/deadlines.js';
import { Authenticator } from '../../src/index.js';
import { startApp, stopApps, until } from '../support/app.js';
import { refusal } from '../support/client.js';
import { handshake, openTcp } from '../support/tcp.js';

afterEach(stopApps);

let asked = 0;

@Injectable()
class Silent extends Authenticator {
  override authenticate(): Promise<never> {
    asked++;
    return new Promise(() => undefined);
  }
}

const providers = [{ provide: Authenticator, useClass: Silent }];

it('a shutdown does not wait for handshakes whose authenticator does not answer', async () => {
  const { url } = await startApp({ providers });
  asked = 0;
  const refused = refusal(`${url}/ws`, { headers: { authorization: 'Bearer x' } });
  await until(() => asked === 1);
  await stopApps();
  expect(await refused).toMatchObject({ status: 503, body: { code: 'SHUTTING_DOWN' } });
});

it('a shutdown does not wait for such a peer to close, either', async () => {
  const { port } = await startApp({ providers });
  asked = 0;
  const socket = await openTcp(port);
  socket.allowHalfOpen = true; // it takes its answer and stays
  socket.resume();
  socket.write(handshake('/ws', ['Authorization: Bearer x']));
  await until(() => asked === 1);
  await stopApps();
  socket.destroy();
});

it('no more than 10,000 wait at once', async () => {
  const deadlines = new Deadlines({ timeoutMs: 1_000 }, { monotonic: () => 0 });
  const waiting = Array.from({ length: 10_000 }, () => deadlines.bound(new Promise<never>(() => undefined), 'nobody'));
  await expect(deadlines.bound(Promise.reject(new Error('nobody hears')), 'one more')).rejects.toMatchObject({
    code: 'OVERLOADED',
  });
  expect(deadlines.size).toBe(10_000);
  deadlines.sweep(1_000);
  expect(deadlines.size).toBe(0);
  await expect(Promise.race(waiting)).rejects.toMatchObject({ code: 'OVERLOADED' });
  await Promise.allSettled(waiting);
});

it('an answer, or a failure, leaves nothing waiting', async () => {
  const deadlines = new Deadlines({ timeoutMs: 1_000 }, { monotonic: () => 0 });
  expect(await deadlines.bound(Promise.resolve('in time'), 'it')).toBe('in time');
  await expect(deadlines.bound(Promise.reject(new Error('no')), 'it')).rejects.toThrow('no');
  expect(deadlines.size).toBe(0);
});

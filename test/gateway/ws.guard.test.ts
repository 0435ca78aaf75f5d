import { UseGuards } from '@nestjs/common';
import type { CanActivate } from '@nestjs/common';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Authorize, Public, Roles, Scopes, WsSessions } from '../../src/index.js';
import { startApp, stopApps, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client } from '../support/client.js';
import { token } from '../support/tokens.js';

const yes = (): boolean => true;

@Roles('a')
@Scopes('x')
@WebSocketGateway()
class ClosedGateway {
  @SubscribeMessage('closed') closed(): string {
    return 'in';
  }
  @Roles('b') @Scopes('y') @SubscribeMessage('closed.more') more(): string {
    return 'in';
  }
  @Public() @SubscribeMessage('closed.public') open(): string {
    return 'in';
  }
}

@Public()
@WebSocketGateway()
class OpenGateway {
  @SubscribeMessage('open') open(): string {
    return 'in';
  }
  @Roles('a') @SubscribeMessage('open.roles') roles(): string {
    return 'in';
  }
  @Scopes('x') @SubscribeMessage('open.scopes') scopes(): string {
    return 'in';
  }
  @Authorize(yes) @SubscribeMessage('open.rules') rules(): string {
    return 'in';
  }
}

@Public()
@Roles('a')
@WebSocketGateway()
class BothGateway {
  @SubscribeMessage('both') both(): string {
    return 'in';
  }
}

let release: (() => void) | undefined;
let called = 0;

class SlowGuard implements CanActivate {
  canActivate(): Promise<boolean> {
    return new Promise((resolve) => (release = () => resolve(true)));
  }
}

@WebSocketGateway()
class SlowGateway {
  @UseGuards(SlowGuard) @SubscribeMessage('slow') slow(): void {
    called++;
  }
}

let test: TestApp;
beforeEach(async () => {
  test = await startApp({ gateways: [ClosedGateway, OpenGateway, BothGateway, SlowGateway] });
});
afterEach(stopApps);

async function answers(claims: object | undefined, ...events: string[]): Promise<unknown[]> {
  const client = await Client.connect(`${test.url}/ws`, claims && { token: token({ ...claims }) });
  const all: unknown[] = [];
  for (const event of events) {
    const { data } = await client.ask({ event, id: 1 });
    all.push((data as { code?: string }).code ?? data);
  }
  return all;
}

describe('roles and scopes', () => {
  it('of a class close its handlers, and those of a handler come on top', async () => {
    const events = ['closed', 'closed.more'];
    expect(await answers(undefined, ...events)).toEqual(['UNAUTHENTICATED', 'UNAUTHENTICATED']);
    expect(await answers({ roles: ['a'], scope: 'x' }, ...events)).toEqual(['in', 'FORBIDDEN']);
    expect(await answers({ roles: ['a', 'b'], scope: 'x y' }, ...events)).toEqual(['in', 'in']);
    for (const claims of [{ roles: ['b'], scope: 'x y' }, { roles: ['a', 'b'], scope: 'y' }, { roles: ['a'] }, {}]) {
      expect(await answers(claims, ...events)).toEqual(['FORBIDDEN', 'FORBIDDEN']);
    }
  });

  it('of a handler close it in a public class, and so do rules', async () => {
    const events = ['open', 'open.roles', 'open.scopes', 'open.rules'];
    const no = 'UNAUTHENTICATED';
    expect(await answers(undefined, ...events)).toEqual(['in', no, no, no]);
    expect(await answers({}, ...events)).toEqual(['in', 'FORBIDDEN', 'FORBIDDEN', 'in']);
    expect(await answers({ roles: ['a'], scope: 'x' }, ...events)).toEqual(['in', 'in', 'in', 'in']);
  });

  it('win over a class that says public as well, and a handler that says public wins over its class', async () => {
    expect(await answers(undefined, 'both', 'closed.public')).toEqual(['UNAUTHENTICATED', 'in']);
    expect(await answers({}, 'both')).toEqual(['FORBIDDEN']);
  });
});

it('a guard of the application that outlives the session calls no handler', async () => {
  called = 0;
  const client = await Client.connect(`${test.url}/ws`, { token: token() });
  client.send({ event: 'slow', id: 1 });
  await until(() => release !== undefined);
  expect((await test.app.get(WsSessions).revoke({ subject: 'ada' })).ended).toBe(1);
  await client.closed;
  release?.();
  await new Promise(setImmediate);
  expect(called).toBe(0);
});

import { UseGuards } from '@nestjs/common';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { afterEach, expect, it } from 'vitest';
import { Authorize, Public, Roles, Scopes, UseConnectionGuards, WsGuard } from '../../src/index.js';
import type { ConnectionGuard } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';
import { Client } from '../support/client.js';
import { token } from '../support/tokens.js';

afterEach(stopApps);

const yes = (): boolean => true;
const no = (): boolean => false;
const later = (): Promise<boolean> => Promise.resolve(true);

async function answer(client: Client, event: string): Promise<unknown> {
  const { data } = await client.ask({ event, id: 1 });
  return (data as { code?: string }).code ?? data;
}

@WebSocketGateway()
class StackedGateway {
  @Authorize(yes) @Authorize(yes) @SubscribeMessage('yes-yes') yesYes(): string {
    return 'in';
  }
  @Authorize(yes) @Authorize(no) @SubscribeMessage('yes-no') yesNo(): string {
    return 'in';
  }
  @Authorize(no) @Authorize(yes) @SubscribeMessage('no-yes') noYes(): string {
    return 'in';
  }
  @Authorize(later, no) @SubscribeMessage('later-no') laterNo(): string {
    return 'in';
  }
  @Authorize(later, later, yes) @SubscribeMessage('later-yes') laterYes(): string {
    return 'in';
  }
  @Roles('a') @Roles('b', 'c') @SubscribeMessage('roles') roles(): string {
    return 'in';
  }
  @Scopes('x') @Scopes('y') @SubscribeMessage('scopes') scopes(): string {
    return 'in';
  }
}

it('stacked rules, roles and scopes all have to be met', async () => {
  const { url } = await startApp({ gateways: [StackedGateway] });
  const some = await Client.connect(`${url}/ws`, { token: token({ roles: ['a'], scope: 'x' }) });
  expect(await answer(some, 'yes-yes')).toBe('in');
  for (const event of ['yes-no', 'no-yes', 'roles', 'scopes']) expect(await answer(some, event)).toBe('FORBIDDEN');
  const all = await Client.connect(`${url}/ws`, { token: token({ roles: ['a', 'c'], scope: 'x y' }) });
  for (const event of ['roles', 'scopes']) expect(await answer(all, event)).toBe('in');
});

it('what a class asks for comes on top of what its base does, and leaves the base alone', async () => {
  @Authorize(no)
  class Base {}
  @Authorize(yes)
  @WebSocketGateway()
  class DerivedGateway extends Base {
    @SubscribeMessage('derived') derived(): string {
      return 'in';
    }
  }
  @Roles('admin')
  class AdminBase {}
  @Roles('user')
  class UserBase extends AdminBase {}
  @WebSocketGateway()
  class OtherGateway extends AdminBase {
    @SubscribeMessage('other') other(): string {
      return UserBase.name;
    }
  }
  const { url } = await startApp({ gateways: [DerivedGateway, OtherGateway] });
  const client = await Client.connect(`${url}/ws`, { token: token({ roles: ['admin'] }) });
  expect(await answer(client, 'derived')).toBe('FORBIDDEN');
  expect(await answer(client, 'other')).toBe('UserBase');
});

it('a rule after one that is waited for is asked all the same', async () => {
  const { url } = await startApp({ gateways: [StackedGateway] });
  const client = await Client.connect(`${url}/ws`, { token: token() });
  expect(await answer(client, 'later-no')).toBe('FORBIDDEN');
  expect(await answer(client, 'later-yes')).toBe('in');
});

it('stacked connection guards are all asked', async () => {
  const asked: string[] = [];
  const guard = (name: string, says: boolean): ConnectionGuard => ({
    canConnect: () => (asked.push(name), says),
  });
  @UseConnectionGuards(guard('upper', true))
  @UseConnectionGuards(guard('lower', false))
  @WebSocketGateway()
  class GuardedGateway {}
  const { url } = await startApp({ gateways: [GuardedGateway] });
  const client = await Client.connect(`${url}/ws`, { token: token() });
  client.send({ event: 'ping', id: 1 });
  expect(await client.next()).toMatchObject({ event: 'disconnect', data: { code: 'FORBIDDEN' } });
  expect(asked).toEqual(['upper', 'lower']);
});

it('a guard of its own tells two gateways apart that share the handler of their base', async () => {
  class Base {
    @UseGuards(WsGuard) @SubscribeMessage('shared') shared(): string {
      return 'in';
    }
  }
  @Roles('admin')
  @WebSocketGateway({ path: '/admin' })
  class AdminGateway extends Base {}
  @Public()
  @WebSocketGateway({ path: '/open' })
  class OpenGateway extends Base {}
  const { url } = await startApp({ gateways: [AdminGateway, OpenGateway] });
  const admin = await Client.connect(`${url}/admin`, { token: token({ roles: ['admin'] }) });
  expect(await answer(admin, 'shared')).toBe('in');
  expect(await answer(await Client.connect(`${url}/open`), 'shared')).toBe('in');
  expect(await answer(await Client.connect(`${url}/admin`), 'shared')).toBe('UNAUTHENTICATED');
});

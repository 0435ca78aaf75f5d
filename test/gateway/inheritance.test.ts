import { SetMetadata, UseGuards } from '@nestjs/common';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { afterEach, describe, expect, it } from 'vitest';
import { Authorize, Public, RateLimit, Roles, Scopes, WsGuard } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';
import { Client } from '../support/client.js';
import { token } from '../support/tokens.js';

/** A decorator that puts another function in the place of the method, as those that log, time or memoize do. */
const Timed = (): MethodDecorator => (_target, _name, descriptor: PropertyDescriptor) => {
  const method = descriptor.value as (...args: unknown[]) => unknown;
  descriptor.value = function timed(this: unknown, ...args: unknown[]): unknown {
    return method.apply(this, args);
  };
};

@WebSocketGateway()
class ReplacedGateway {
  @SubscribeMessage('roles') @Timed() @Roles('admin') roles(): string {
    return 'roles';
  }
  @SubscribeMessage('scopes') @Timed() @Scopes('all') scopes(): string {
    return 'scopes';
  }
  @SubscribeMessage('rule') @Timed() @Authorize(() => false) rule(): string {
    return 'rule';
  }
  @Roles('seller') @SubscribeMessage('both') @Timed() @Roles('admin') both(): string {
    return 'both';
  }
  @SubscribeMessage('public') @Timed() @Public() public(): string {
    return 'public';
  }
  @SubscribeMessage('limited') @Timed() @RateLimit({ limit: 1, perMs: 60_000 }) limited(): string {
    return 'limited';
  }
  @UseGuards(WsGuard) @SubscribeMessage('guarded') @Timed() @Roles('admin') guarded(): string {
    return 'guarded';
  }
}

class Base {
  @Roles('admin') @SubscribeMessage('overridden') overridden(): string {
    return 'of the base';
  }
  @Roles('admin') inherited(): string {
    return 'of the base';
  }
  @Public() @SubscribeMessage('closed-again') closedAgain(): string {
    return 'of the base';
  }
  @Roles('admin') @SubscribeMessage('opened') opened(): string {
    return 'of the base';
  }
}

@WebSocketGateway()
class OverridingGateway extends Base {
  @SubscribeMessage('overridden') override overridden(): string {
    return 'of the gateway';
  }
  @Scopes('all') @SubscribeMessage('inherited') override inherited(): string {
    return 'of the gateway';
  }
  @SubscribeMessage('closed-again') override closedAgain(): string {
    return 'of the gateway';
  }
  @Public() @SubscribeMessage('opened') override opened(): string {
    return 'of the gateway';
  }
}

@Public()
class OpenBase {
  @SubscribeMessage('news') news(): string {
    return 'news';
  }
}

@WebSocketGateway()
class BelowOpenBase extends OpenBase {
  @SubscribeMessage('orders') orders(): string {
    return 'orders';
  }
}

@Public()
@WebSocketGateway({ path: '/open' })
class OpenGateway extends OpenBase {
  @SubscribeMessage('all') all(@MessageBody() data: unknown): unknown {
    return data ?? 'all';
  }
}

@WebSocketGateway()
class MarkedGateway {
  @SetMetadata('mark', 1) @SubscribeMessage('marked') marked(): string {
    return 'marked';
  }
}

afterEach(stopApps);

describe('what decorators say', () => {
  async function answersOf(events: string[], options: { token?: string; path?: string } = {}): Promise<unknown[]> {
    const gateways = [ReplacedGateway, OverridingGateway, BelowOpenBase, OpenGateway, MarkedGateway];
    const { url } = await startApp({ gateways });
    const { path = '/ws', ...rest } = options;
    const client = await Client.connect(`${url}${path}`, rest);
    const answers: unknown[] = [];
    for (const event of events) {
      const { data } = await client.ask({ event, id: 1 });
      answers.push((data as { code?: string }).code ?? data);
    }
    return answers;
  }

  it('is kept where another decorator replaces the method', async () => {
    const events = ['roles', 'scopes', 'rule', 'both', 'guarded'];
    expect(await answersOf(events, { token: token() })).toEqual(events.map(() => 'FORBIDDEN'));
    const admin = token({ roles: ['admin'], scope: 'all' });
    expect(await answersOf(events, { token: admin })).toEqual(['roles', 'scopes', 'FORBIDDEN', 'FORBIDDEN', 'guarded']);
    const both = token({ roles: ['admin', 'seller'] });
    expect(await answersOf(['both', 'limited', 'limited'], { token: both })).toEqual([
      'both',
      'limited',
      'RATE_LIMITED',
    ]);
    expect(await answersOf(['public'])).toEqual(['public']);
  });

  it('of a method is asked of its override as well', async () => {
    const events = ['overridden', 'inherited', 'opened'];
    expect(await answersOf(events, { token: token() })).toEqual(events.map(() => 'FORBIDDEN'));
    expect(await answersOf(events, { token: token({ roles: ['admin'] }) })).toEqual([
      'of the gateway',
      'FORBIDDEN',
      'of the gateway',
    ]);
    expect(await answersOf(['inherited'], { token: token({ roles: ['admin'], scope: 'all' }) })).toEqual([
      'of the gateway',
    ]);
    expect(await answersOf(['closed-again', 'opened'])).toEqual(['UNAUTHENTICATED', 'UNAUTHENTICATED']);
  });

  it('opens the handlers of a class, and not those of its subclasses', async () => {
    expect(await answersOf(['news', 'orders', 'marked'])).toEqual(['news', 'UNAUTHENTICATED', 'UNAUTHENTICATED']);
    expect(await answersOf(['news', 'all'], { path: '/open' })).toEqual(['news', 'all']);
  });
});

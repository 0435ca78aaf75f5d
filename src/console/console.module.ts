import { Inject, Logger, Module } from '@nestjs/common';
import type { DynamicModule, MiddlewareConsumer, NestModule, OnApplicationBootstrap, Type } from '@nestjs/common';
import { WebSocketGateway } from '@nestjs/websockets';
import type { TokenSource } from '../authentication/credentials.js';
import { contain, loggerFaults } from '../base/contain.js';
import { visible } from '../base/visible.js';
import { pathnameOf } from '../base/pathname.js';
import { OptionsByPath } from '../connection/options-by-path.js';
import type { ConnectionOptions } from '../connection/options.js';
import { ConsoleData } from './console-data.js';
import { ConsoleGateway } from './console.gateway.js';
import { CONSOLE_OPTIONS, consoleOptions } from './options.js';
import type { ConsoleOptions, WsConsoleOptions } from './options.js';
import { ConsolePage } from './page.js';
import type { PageConfig } from './wire.js';

/**
 * A page that shows what the gateway does, live. Import it beside `WsGatewayModule`; its data needs a token with the scope
 * `ws-gateway:admin`, its files need none.
 */
@Module({})
export class WsConsoleModule implements NestModule, OnApplicationBootstrap {
  readonly #log = new Logger(WsConsoleModule.name);

  constructor(
    @Inject(CONSOLE_OPTIONS) private readonly options: ConsoleOptions,
    private readonly byPath: OptionsByPath,
  ) {}

  /** Those of the path that the page connects to. */
  get #inForce(): ConnectionOptions {
    return this.byPath.of(pathnameOf(this.options.socket));
  }

  /** @throws TypeError for a path that cannot be */
  static forRoot(options: WsConsoleOptions = {}): DynamicModule {
    const resolved = consoleOptions(options);
    return {
      module: WsConsoleModule,
      providers: [{ provide: CONSOLE_OPTIONS, useValue: resolved }, ConsoleData, gatewayAt(resolved.socket)],
    };
  }

  configure(consumer: MiddlewareConsumer): void {
    const { page, path, title, socket } = this.options;
    const { sources } = this.#inForce.auth;
    const served = new ConsolePage(page, path, { title, socket, via: viaOf(sources) ?? 'cookie' });
    consumer.apply(served.middleware).forRoutes(...served.routes);
  }

  onApplicationBootstrap(): void {
    const { auth, firewall } = this.#inForce;
    const { sources } = auth;
    const { origins } = firewall;
    if (viaOf(sources) === undefined) {
      this.#warn(
        'The console cannot sign in: auth.sources has none of message, subprotocol and cookie, which a browser can use',
      );
    }
    if (origins !== undefined && origins.length > 0 && !origins.includes('*')) {
      this.#warn(`The console's page connects only from these origins (firewall.origins): ${origins.join(', ')}`);
    }
  }

  #warn(message: string): void {
    contain(() => this.#log.warn(visible(message)), loggerFaults.tell);
  }
}

/** What a page can use, the best first. */
const VIA = ['message', 'subprotocol', 'cookie'] as const satisfies readonly TokenSource[];

function viaOf(sources: readonly TokenSource[]): PageConfig['via'] | undefined {
  return VIA.find((via) => sources.includes(via));
}

/** A class of its own for each path, since a decorator writes the path on the class. */
function gatewayAt(path: string): Type<ConsoleGateway> {
  class Console extends ConsoleGateway {}
  WebSocketGateway({ path })(Console);
  return Console;
}

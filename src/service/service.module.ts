import { Global, Module } from '@nestjs/common';
import type { DynamicModule } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { FailureSink } from '../monitoring/log.js';
import { WsGatewayModule } from '../ws-gateway.module.js';
import type { WsGatewayOptions } from '../ws-gateway.options.js';
import { AdminController } from './admin.controller.js';
import { BansController } from './bans.controller.js';
import { HealthController } from './health.controller.js';
import { HttpExceptionFilter } from './http-exception.filter.js';
import { CheckingEmailGateway, EmailGateway } from './email.gateway.js';
import { ServiceGateway } from './service.gateway.js';
import { TicketsController } from './tickets.controller.js';

/** The standalone service: the module, gateways that answer, and HTTP endpoints for those who run it. */
@Global()
@Module({})
export class ServiceModule {
  static forRoot(options: WsGatewayOptions, sink: FailureSink, checkMx: boolean): DynamicModule {
    const hasTickets = options.auth.sources?.includes('ticket') ?? false;
    return {
      module: ServiceModule,
      imports: [WsGatewayModule.forRoot(options)],
      controllers: [HealthController, AdminController, BansController, ...(hasTickets ? [TicketsController] : [])],
      providers: [
        ServiceGateway,
        checkMx ? CheckingEmailGateway : EmailGateway,
        { provide: APP_FILTER, useClass: HttpExceptionFilter },
        { provide: FailureSink, useValue: sink },
      ],
      exports: [FailureSink],
    };
  }
}

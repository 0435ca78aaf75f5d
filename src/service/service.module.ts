import { Global, Module } from '@nestjs/common';
import type { DynamicModule } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { AuditSink } from '../monitoring/audit/audit-sink.js';
import { FailureSink } from '../monitoring/log/failure-log.js';
import { WsConsoleModule } from '../console/console.module.js';
import type { MintToken } from '../console/options.js';
import { signDemo } from './command/token.js';
import { WsGatewayModule } from '../ws-gateway.module.js';
import { AdminActs } from './http/admin-acts.js';
import { AdminController } from './http/admin.controller.js';
import type { ServiceConfiguration } from './configuration/configuration.js';
import { Everywhere } from './http/everywhere.js';
import { Backend } from './http/backend.js';
import { BansController } from './http/bans.controller.js';
import { ChannelsController } from './http/channels.controller.js';
import { PublishController } from './http/publish.controller.js';
import { HealthController } from './http/health.controller.js';
import { HttpExceptionFilter } from './http/http-exception.filter.js';
import { CheckingEmailGateway, EmailGateway } from './email.gateway.js';
import { MetricsController, ProcessMetrics, PublicMetricsController } from './http/metrics.controller.js';
import { ServiceGateway } from './service.gateway.js';
import { TicketsController } from './http/tickets.controller.js';

/** With a secret that is forgotten when the process ends, the playground may have any token. */
function mintWith(secret: string | undefined, gateway: ServiceConfiguration['gateway']): { mint?: MintToken } {
  return secret === undefined ? {} : { mint: (claims) => signDemo(claims, secret, gateway) };
}

/** The standalone service: the module, gateways that answer, and HTTP endpoints for those who run it. */
@Global()
@Module({})
export class ServiceModule {
  static forRoot(
    { gateway, checkMx, metricsPublic, console, ephemeralSecret, fronts }: ServiceConfiguration,
    sink: FailureSink,
    auditSink: AuditSink | undefined,
  ): DynamicModule {
    const own = Object.values(gateway.paths ?? {});
    const hasTickets = [gateway, ...own].some(({ auth }) => auth?.sources?.includes('ticket'));
    const audit = auditSink === undefined ? [] : [{ provide: AuditSink, useValue: auditSink }];
    const hasMetrics = gateway.monitoring?.metrics ?? false;
    const metrics = metricsPublic ? PublicMetricsController : MetricsController;
    return {
      module: ServiceModule,
      imports: [
        WsGatewayModule.forRoot(gateway),
        ...(console ? [WsConsoleModule.forRoot({ path: '/', ...mintWith(ephemeralSecret, gateway) })] : []),
      ],
      controllers: [
        HealthController,
        AdminController,
        BansController,
        PublishController,
        ChannelsController,
        ...(hasTickets ? [TicketsController] : []),
        ...(hasMetrics ? [metrics] : []),
      ],
      providers: [
        ...(fronts.length > 0 ? [] : [ServiceGateway, checkMx ? CheckingEmailGateway : EmailGateway]),
        { provide: APP_FILTER, useClass: HttpExceptionFilter },
        { provide: FailureSink, useValue: sink },
        ...audit,
        ProcessMetrics,
        AdminActs,
        Backend,
        Everywhere,
      ],
      exports: [FailureSink, ...(auditSink === undefined ? [] : [AuditSink])],
    };
  }
}

import type { Provider } from '@nestjs/common';
import { AfterInits } from './after-init.js';
import { ChannelRoutes } from './channel-routes.js';
import { GatewayBinder } from './bind-gateways.js';
import { WsExceptionFilter } from './ws-exception.filter.js';
import { WsGateway } from './ws.gateway.js';
import { WsGuard } from './ws.guard.js';
import { WsValidationPipe } from './ws-validation.pipe.js';

export const gatewayProviders: Provider[] = [
  WsGuard,
  WsValidationPipe,
  WsExceptionFilter,
  WsGateway,
  AfterInits,
  ChannelRoutes,
  GatewayBinder,
];

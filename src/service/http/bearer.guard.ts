import type { IncomingMessage } from 'node:http';
import { Injectable, SetMetadata } from '@nestjs/common';
import type { CanActivate, CustomDecorator, ExecutionContext } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { Principal } from '../../authentication/principal.js';
import { Doorkeeper } from '../../connection/doorkeeper.js';
import { WsMonitor } from '../../monitoring/ws-monitor.js';
import { GatewayError } from '../../protocol/errors.js';

/** A request that the guard has let through. */
export interface AuthenticatedRequest extends IncomingMessage {
  principal: Principal;
}

const SCOPE_METADATA = 'nestjs-ws-gateway:http-scope';

/** The scope that a bearer token needs. */
export const RequireScope = (scope: string): CustomDecorator => SetMetadata(SCOPE_METADATA, scope);

/** The service's own HTTP endpoints ask for a bearer token, and for a scope where they name one. */
@Injectable()
export class BearerGuard implements CanActivate {
  constructor(
    private readonly doorkeeper: Doorkeeper,
    private readonly reflector: Reflector,
    private readonly monitor: WsMonitor,
  ) {}

  /** @throws GatewayError what {@link Doorkeeper.authenticate} throws; FORBIDDEN for a token without the scope */
  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = context.switchToHttp().getRequest<AuthenticatedRequest>();
    request.principal = await this.doorkeeper.authenticate(request);
    const scope = this.reflector.getAllAndOverride<string | undefined>(SCOPE_METADATA, [
      context.getHandler(),
      context.getClass(),
    ]);
    if (scope === undefined || request.principal.scopes.includes(scope)) return true;
    this.monitor.emit({
      kind: 'admin',
      actor: request.principal.subject,
      act: scope,
      refused: 'FORBIDDEN',
      clientAddress: this.doorkeeper.addressOf(request),
    });
    throw new GatewayError('FORBIDDEN');
  }
}

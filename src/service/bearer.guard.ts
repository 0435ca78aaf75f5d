import type { IncomingMessage } from 'node:http';
import { Injectable, SetMetadata } from '@nestjs/common';
import type { CanActivate, CustomDecorator, ExecutionContext } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { Authentication } from '../authentication/authentication.js';
import { bearerOf } from '../authentication/credentials.js';
import type { Principal } from '../authentication/principal.js';
import { WsFirewall } from '../firewall/firewall.js';
import { WsMonitor } from '../monitoring/events.js';
import { GatewayError } from '../protocol/errors.js';

/** A request that the guard has let through. */
export interface AuthenticatedRequest extends IncomingMessage {
  principal: Principal;
}

const SCOPE_METADATA = 'nestjs-ws-gateway:http-scope';

/** The scope that a bearer token needs. */
export const RequireScope = (scope: string): CustomDecorator => SetMetadata(SCOPE_METADATA, scope);

/** The service's own HTTP endpoints: a bearer token and nothing else, so that no other page can act for its owner. */
@Injectable()
export class BearerGuard implements CanActivate {
  constructor(
    private readonly authentication: Authentication,
    private readonly reflector: Reflector,
    private readonly monitor: WsMonitor,
    private readonly firewall: WsFirewall,
  ) {}

  /** @throws GatewayError UNAUTHENTICATED, what the token is refused for, FORBIDDEN */
  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = context.switchToHttp().getRequest<AuthenticatedRequest>();
    const token = bearerOf(request.headers.authorization);
    if (token === undefined) throw new GatewayError('UNAUTHENTICATED');
    const clientAddress = this.firewall.addressOf(request);
    request.principal = await this.authentication.authenticate(token, { source: 'header', request }, clientAddress);
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
      clientAddress,
    });
    throw new GatewayError('FORBIDDEN');
  }
}

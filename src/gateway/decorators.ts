import { createParamDecorator, SetMetadata } from '@nestjs/common';
import type { CustomDecorator, ExecutionContext } from '@nestjs/common';
import { WsSession } from '../connection/session.js';
import type { Principal } from '../connection/session.js';

export const PUBLIC_METADATA = 'nestjs-ws-gateway:public';
export const ROLES_METADATA = 'nestjs-ws-gateway:roles';
export const SCOPES_METADATA = 'nestjs-ws-gateway:scopes';

/** Opens a handler, or all handlers of a gateway, to sessions that have not authenticated. Handlers are closed without it. */
export const Public = (): CustomDecorator => SetMetadata(PUBLIC_METADATA, true);

/** The principal needs one of these roles. On a class and on its handler: one of each. */
export const Roles = (...roles: [string, ...string[]]): CustomDecorator => SetMetadata(ROLES_METADATA, roles);

/** The principal needs all of these scopes. On a class and on its handler: all of both. */
export const Scopes = (...scopes: [string, ...string[]]): CustomDecorator => SetMetadata(SCOPES_METADATA, scopes);

export const currentSession = (_: unknown, context: ExecutionContext): WsSession =>
  WsSession.of(context.switchToWs().getClient<object>());

export const currentPrincipal = (_: unknown, context: ExecutionContext): Principal | undefined =>
  currentSession(_, context).principal;

/** The {@link WsSession} of the message. */
export const CurrentSession = createParamDecorator(currentSession);

/** The {@link Principal} of the message's session; undefined while it is anonymous. */
export const CurrentPrincipal = createParamDecorator(currentPrincipal);

import type { Type } from '@nestjs/common';
import { GUARDS_METADATA } from '@nestjs/common/internal';
import { MetadataScanner } from '@nestjs/core';
import { MESSAGE_MAPPING_METADATA } from '@nestjs/websockets/internal';
import type { ConnectionAttempt, ConnectionGuard } from '../authentication/connection-guard.js';
import type { RawPath } from '../connection/context.js';
import type { GatewayServer } from '../connection/server.js';
import { GatewayError } from '../protocol/errors.js';
import { rawProtocol } from '../protocol/raw.js';
import type { Session } from '../session/session.js';
import { accessOf, demandAccess, isAllowed } from './access.js';
import type { Access } from './access.js';
import { RAW_METADATA } from './decorators.js';
import type { RawGatewayOptions } from './decorators.js';
import type { GatewayHost } from './handlers.js';

/** A gateway class, as `@RawGateway()` marks it; undefined for any other. */
export function rawOptionsOf(gateway: object): RawGatewayOptions | undefined {
  return Reflect.getMetadata(RAW_METADATA, gateway) as RawGatewayOptions | undefined;
}

/** A raw gateway, and the path that it has. */
interface RawGatewayHost {
  readonly host: GatewayHost;
  readonly options: RawGatewayOptions;
  readonly server: GatewayServer;
  /** Another gateway of the path. */
  readonly besides: string | undefined;
}

/**
 * Leaves the messages of a path to the listeners of its gateway.
 *
 * @throws Error for what would be an open door, or a handler that no message reaches
 */
export function bindRaw({ host, options, server, besides }: RawGatewayHost): void {
  const { exceptions = false, disconnects = false, subprotocols = [] } = options;
  const { metatype, name } = host.wrapper;
  const gateway = metatype as Type;
  const access = accessOf(gateway, nothingOfItsOwn);
  const { context, pathname } = server;
  const problem =
    problemOf(gateway, access) ??
    (besides === undefined ? undefined : `shares ${pathname} with ${besides}: a raw path has one gateway`) ??
    problemOfSources(context.options.auth);
  if (problem !== undefined) throw new Error(`${String(name)} at ${pathname} is a @RawGateway() and ${problem}`);
  server.protocol = rawProtocol({ exceptions, disconnects, subprotocols });
  server.raw = {
    exceptions,
    traffic: context.traffic.of('raw'),
    untilToken: undefined,
    demand: (session) => demand(session, access, context.options.auth.anonymous),
  } satisfies RawPath;
  if (asksFor(access)) server.connectionGuards.push(new AccessGuard(access));
}

/** Stands for the handler that a raw gateway does not have. */
const nothingOfItsOwn = (): void => undefined;

/** What is for handlers would be asked of no message here, and called for none. */
function problemOf({ prototype }: Type, { rules, rateLimit }: Access): string | undefined {
  const gateway = (prototype as object).constructor;
  const has = (key: string): boolean => Reflect.hasMetadata(key, gateway);
  const unasked = [
    ...(rules.length > 0 ? ['@Authorize()'] : []),
    ...(rateLimit === undefined ? [] : ['@RateLimit()']),
    ...(has(GUARDS_METADATA) ? ['@UseGuards()'] : []),
  ];
  if (unasked.length > 0) {
    return `has ${unasked.join(', ')}, which no message is asked for: use @Roles(), @Scopes() and @UseConnectionGuards()`;
  }
  const methods = new MetadataScanner().getAllMethodNames(prototype as object);
  const isHandler = (name: string): boolean =>
    Reflect.hasMetadata(MESSAGE_MAPPING_METADATA, (prototype as Record<string, object>)[name] as object); // because the scanner has named it
  const handlers = methods.filter(isHandler);
  return handlers.length === 0 ? undefined : `has handlers, which no message reaches: ${handlers.join(', ')}`;
}

/** A raw path has no `auth` message. */
function problemOfSources({ sources, anonymous }: GatewayServer['context']['options']['auth']): string | undefined {
  if (anonymous || sources.some((source) => source !== 'message')) return undefined;
  return (
    "cannot authenticate by a first message: auth.sources needs one that comes with the upgrade ('header', 'subprotocol', " +
    "'cookie', 'ticket', 'query' or 'certificate')"
  );
}

export function asksFor({ roles, scopes }: Pick<Access, 'roles' | 'scopes'>): boolean {
  return roles.length + scopes.length > 0;
}

/** As for a handler, before every message: a principal may lose a role while it is connected. */
export function demand(session: Session, access: Access, anonymous: boolean): void {
  if (session.principal !== undefined || !anonymous || asksFor(access)) demandAccess(session, access);
}

/** Asks an upgrade for the roles and scopes of the gateway: what `handleConnection` sends is for those who have them. */
export class AccessGuard implements ConnectionGuard {
  /** @param tokenComesLater true where it may come as a message: then the guard is asked again */
  constructor(
    private readonly access: Access,
    private readonly tokenComesLater = false,
  ) {}

  canConnect({ principal }: ConnectionAttempt): boolean {
    if (principal === undefined && this.tokenComesLater) return true;
    if (principal === undefined) throw new GatewayError('UNAUTHENTICATED');
    return isAllowed(principal, this.access);
  }
}

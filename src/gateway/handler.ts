import type { CanActivate, NestInterceptor } from '@nestjs/common';
import type { selectExceptionFilterMetadata } from '@nestjs/common/internal';
import { serverOf } from '../connection/context.js';
import type { Session } from '../session/session.js';
import type { InboundMessage } from '../protocol/message.js';
import type { Access } from './access.js';
import type { Parameter } from './parameters.js';
import type { BoundRule } from './rules.js';
import type { WsGuard } from './ws.guard.js';

export type Method = (...args: unknown[]) => unknown;
export type Gateway = Record<string, unknown>;
export type FilterMetadata = Parameters<typeof selectExceptionFilterMetadata>[0][number];

/** One handler with all that stands around it. */
export interface Handler {
  readonly instance: Gateway;
  readonly method: Method;
  /** Asked first, in the turn that the message comes in. */
  readonly guard: Pick<WsGuard, 'authorize'>;
  readonly access: Access;
  readonly rules: readonly BoundRule[];
  readonly parameters: readonly Parameter[];
  readonly argumentCount: number;
  /** True where it asks for a signal. */
  readonly takesSignal: boolean;
  readonly guards: readonly CanActivate[];
  readonly interceptors: readonly NestInterceptor[];
  readonly filters: FilterMetadata[];
}

/** Calls the method, in a span where the application traces. */
export function invoke(
  { instance, method }: Handler,
  args: unknown[],
  session: Session,
  message: InboundMessage,
): unknown {
  const { tracing } = serverOf(session).context;
  if (tracing === undefined) return method.apply(instance, args);
  return tracing.handler(message, () => method.apply(instance, args));
}

/** What parameters are read from: as in Nest, and then the message, where a parameter is its signal. */
export function givenOf({ takesSignal }: Handler, { socket }: Session, message: InboundMessage): unknown[] {
  const { data, event } = message;
  return takesSignal ? [socket, data, event, message] : [socket, data, event];
}

export { WsGatewayModule } from './ws-gateway.module.js';
export { DEFAULTS, WsGatewayOptionsError } from './ws-gateway.options.js';
export type {
  Algorithm,
  AuthOptions,
  CompressionOptions,
  FirewallOptions,
  HeartbeatOptions,
  JwtOptions,
  LimitOptions,
  TokenSource,
  WsGatewayOptions,
} from './ws-gateway.options.js';

export { WsGateway } from './gateway/ws.gateway.js';
export type { AuthReply, SessionReply } from './gateway/ws.gateway.js';
export { WsGuard } from './gateway/ws.guard.js';
export { WsValidationPipe } from './gateway/ws-validation.pipe.js';
export { dtoValidator } from './gateway/dto-validator.js';
export type { DtoValidator } from './gateway/dto-validator.js';
export { WsExceptionFilter } from './gateway/ws-exception.filter.js';
export { CurrentPrincipal, CurrentSession, Public, Roles, Scopes } from './gateway/decorators.js';
export { AuthDto } from './gateway/dto/auth.dto.js';
export { EmailDto } from './gateway/dto/email.dto.js';
export { PayloadDto } from './gateway/dto/payload.dto.js';

export { normaliseEmail } from './email/address.js';
export { IsDeliverableEmail } from './email/is-deliverable-email.js';
export type { DeliverableEmailOptions } from './email/is-deliverable-email.js';
export { IsEmailAddress } from './email/is-email-address.js';
export type { EmailOptions } from './email/options.js';
export { WsEmail } from './email/ws-email.js';
export type { EmailReason, EmailVerdict } from './email/ws-email.js';

export { ERRORS, GatewayError } from './protocol/errors.js';
export type { CatalogueCode, ErrorCode, ErrorDetail, ErrorSpec, GatewayErrorOptions } from './protocol/errors.js';
export type { DisconnectData, ExceptionData, InboundMessage, MessageId } from './protocol/message.js';

export { WsSession } from './connection/session.js';
export type { Principal, SessionPhase } from './connection/session.js';
export { WsSessions } from './connection/sessions.js';
export type { SessionFilter } from './connection/sessions.js';

export { Authentication } from './connection/authentication.js';
export { WsClock } from './connection/clock.js';
export { WsMonitor } from './monitoring/events.js';
export type { FailureEvent, FailureLevel, FailureListener } from './monitoring/events.js';
export { FailureSink } from './monitoring/log.js';
export type { FailureRecord } from './monitoring/log.js';

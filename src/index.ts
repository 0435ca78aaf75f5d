export { WsGatewayModule } from './ws-gateway.module.js';
export { DEFAULTS, WsGatewayOptionsError } from './ws-gateway.options.js';
export { WsGatewayReload } from './reload/ws-gateway-reload.js';
export type { ReloadReport } from './reload/ws-gateway-reload.js';
export type { WsGatewayOptions } from './ws-gateway.options.js';
export type { AuthOptions, CertificateOptions, Revalidate } from './authentication/options.js';
export type { CompressionOptions, HeartbeatOptions, LimitOptions, OverloadOptions } from './connection/options.js';

export { WsGateway } from './gateway/ws.gateway.js';
export type { AuthReply, SessionReply } from './gateway/ws.gateway.js';
export { WsGuard } from './gateway/ws.guard.js';
export { WsValidationPipe } from './gateway/ws-validation.pipe.js';
export type { WsValidationPipeOptions } from './gateway/ws-validation.pipe.js';
export { dtoValidator } from './validation/dto-validator.js';
export type { DtoValidator, ValidationGroups } from './validation/dto-validator.js';
export { WsExceptionFilter } from './gateway/ws-exception.filter.js';
export {
  Authorize,
  CurrentPrincipal,
  CurrentSession,
  PathParam,
  Public,
  RateLimit,
  RawGateway,
  Roles,
  Scopes,
  Signal,
  SubscribeBinary,
  UseConnectionGuards,
  UseProtocol,
} from './gateway/decorators.js';
export type { RawGatewayOptions } from './gateway/decorators.js';
export type { AuthorizationRule, Rule } from './gateway/rules.js';
export { Sealed } from './validation/sealed.decorator.js';
export { AuthDto } from './gateway/dto/auth.dto.js';
export { EmailDto } from './gateway/dto/email.dto.js';
export { PayloadDto } from './gateway/dto/payload.dto.js';

export { normaliseEmail } from './email/address.js';
export { IsDeliverableEmail } from './email/is-deliverable-email.js';
export type { DeliverableEmailOptions } from './email/is-deliverable-email.js';
export { IsEmailAddress } from './email/is-email-address.js';
export type { EmailOptions } from './email/options.js';
export { WsEmail } from './email/ws-email.js';
export type { EmailReason, EmailVerdict } from './email/verdict.js';

export { arrays } from './protocol/arrays.js';
export type { ArraysOptions } from './protocol/arrays.js';
export { jsonRpc } from './protocol/json-rpc.js';
export type { JsonRpcOptions } from './protocol/json-rpc.js';
export { parsed } from './protocol/parsed.js';
export { readJson } from './protocol/read-json.js';
export type { MessageParser } from './protocol/parsed.js';
export type {
  Decoded,
  DecodedMessage,
  Encoded,
  FailedRequest,
  ProtocolOptions,
  Reply,
  UnreadableMessage,
  WireProtocol,
} from './protocol/wire-protocol.js';
export { WsProtocol } from './session/ws-protocol.js';
export type { ProtocolSource } from './gateway/protocols.js';

export { ERRORS, GatewayError } from './protocol/errors.js';
export type { CatalogueCode, ErrorCode, ErrorDetail, ErrorSpec, GatewayErrorOptions } from './protocol/errors.js';
export type { DisconnectData, ExceptionData, InboundMessage, MessageId } from './protocol/message.js';

export { Fingerprints } from './data-protection/fingerprint.js';
export { KeyRing, KeyRingError } from './data-protection/key-ring.js';
export { Sensitive } from './data-protection/sensitive.js';
export { secretsEqual } from './data-protection/secrets-equal.js';
export { WsSeal } from './data-protection/ws-seal.js';
export type { SealBinding } from './data-protection/ws-seal.js';

export type { BusEvent } from './engine/events.js';
export { WsCluster } from './engine/ws-cluster.js';
export type { ClusterState, NodeInfo } from './engine/ws-cluster.js';
export type { ClusterOptions, RedisSource } from './cluster/options.js';
export { WsSession } from './session/ws-session.js';
export type { SessionPhase } from './session/ws-session.js';
export { WsSessions } from './session/ws-sessions.js';
export type { JoinOptions } from './session/ws-session.js';
export type { RevocationFilter, Revoked } from './session/revoke.js';
export type { SessionFilter, SessionPage, SessionQuery } from './session/ws-sessions.js';
export type { ConnectionAttempt, ConnectionGuard } from './authentication/connection-guard.js';

export type { UpstreamOptions } from './proxy/options.js';
export { WsRooms } from './rooms/ws-rooms.js';
export type {
  History,
  HistoryItem,
  MemberPage,
  Published,
  PublishOptions,
  RoomCount,
  RoomMember,
  RoomTarget,
} from './rooms/ws-rooms.js';
export type { ChannelEvent, RoomEvent } from './rooms/events.js';
export { ChannelAuthorizer } from './rooms/channel-authorizer.js';
export type { ChannelAct } from './rooms/channel-rules.js';
export type { ChannelOptions, ChannelRuleOptions, RoomOptions } from './rooms/options.js';
export type { GapReason, Position } from './engine/engine.js';

export { WsFirewall } from './firewall/ws-firewall.js';
export type { AddressLists, BanOptions } from './firewall/decisions.js';
export type { Ban, BanTarget } from './firewall/bans.js';
export type { PathOptions } from './connection/path-options.js';
export type { FirewallOptions, FirewallRule } from './firewall/options.js';

export { Authentication } from './authentication/authentication.js';
export { Authenticator } from './authentication/authenticator.js';
export type { AuthenticationContext, CredentialOrigin } from './authentication/authenticator.js';
export type { CertificateSubject } from './authentication/certificate.js';
export type { ClaimNames } from './authentication/claims.js';
export { userAndPassword } from './authentication/credentials.js';
export type { CredentialKind, CredentialSource, TokenSource } from './authentication/credentials.js';
export { JwtAuthenticator } from './authentication/jwt/jwt-authenticator.js';
export type { Algorithm, AllowedNames, JwtIssuerOptions, JwtOptions, SubjectOf } from './authentication/jwt/issuers.js';
export type { Principal, PrincipalInit } from './authentication/principal.js';
export { WsTickets } from './authentication/tickets.js';
export type { Ticket, TicketBinding } from './authentication/tickets.js';
export { WsClock } from './base/clock.js';
export type { PathParams } from './base/path-params.js';

export { WsMonitor } from './monitoring/ws-monitor.js';
export type {
  AdminEvent,
  FailureListener,
  WsEvent,
  WsEventKind,
  WsEventListener,
  WsEvents,
} from './monitoring/ws-monitor.js';
export type { AuthenticationEvent } from './authentication/events.js';
export type { AdmittedEvent, AuthenticatedEvent, ConnectionEvent, WsMessageEvent } from './connection/events.js';
export type { AdmissionEvent, BanEvent, BudgetEvent, FirewallEvent, ProxyEvent } from './firewall/events.js';
export type { FailureEvent, FailureLevel, RevocationEvent, SessionEvent } from './session/events.js';
export { OnWsEvent } from './monitoring/on-ws-event.js';
export { FailureSink } from './monitoring/log/failure-log.js';
export type { FailureRecord, NoticeRecord } from './monitoring/log/failure-log.js';
export { AuditFile } from './monitoring/audit/audit-file.js';
export type { AuditFileOptions, AuditHead } from './monitoring/audit/audit-file.js';
export { AuditSink } from './monitoring/audit/audit-sink.js';
export type { AuditEntry, AuditType } from './monitoring/audit/audit-event.js';
export { WsHealth, WsHealthIndicator } from './monitoring/health.js';
export type { HealthCheck, Readiness, WsHealthResult } from './monitoring/health.js';
export { WsMetrics } from './monitoring/metrics/ws-metrics.js';
export type { MetricsAnswer } from './monitoring/metrics/ws-metrics.js';
export type { Disclosure, MetricsRegistry, MonitoringOptions, PrivacyOptions } from './monitoring/options.js';

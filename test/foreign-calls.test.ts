import { describe, expect, it } from 'vitest';
import { foreignCalls } from './support/foreign-calls.js';

/**
 * Calls of foreign code that stand in no call of base/contain.ts, by what holds what they throw, reject with or never answer.
 * Each has its row in test/e2e/foreign-code.test.ts or monitoring/tracing-faults.test.ts, as far as it is called while the
 * application runs.
 */
const HELD_ELSEWHERE: Readonly<Record<string, readonly string[]>> = {
  'route.call(): what it throws, the try of receive() has; what it returns, follow() has, with handlerTimeoutMs': [
    'AuthorizationRule.authorize @ gateway/rules.ts',
    'BoundRule.ask @ gateway/rules.ts',
    'typescript: CallableFunction.apply @ gateway/handler.ts',
    '@nestjs/common: ExceptionFilter.catch @ gateway/nest-enhancers.ts',
    '@nestjs/common: CanActivate.canActivate @ gateway/nest-enhancers.ts',
    '@nestjs/common: NestInterceptor.intercept @ gateway/nest-enhancers.ts',
    '@nestjs/common: PipeTransform.transform @ gateway/payload-steps.ts',
    'typescript: CallableFunction.call @ gateway/payload-steps.ts',
    'typescript: CallableFunction.apply @ validation/dto-fence.ts',
    'typescript: CallableFunction.call @ validation/dto-compiler.ts',
    '@nestjs/core: Injector.loadPerContext @ gateway/handlers.ts',
    '@standard-schema/spec: Props.validate @ gateway/ws-validation.pipe.ts',
    'TransformerMetadata.transformFn @ validation/dto-compiler.ts',
    'class-transformer: ClassConstructor @ validation/dto-compiler.ts',
    'class-transformer: plainToInstance @ validation/dto-validator.ts',
    'class-validator: ValidationMetadata.validateIf @ validation/dto-compiler.ts',
    'class-validator: ValidatorConstraintInterface.defaultMessage @ validation/validation-details.ts',
    'class-validator: ValidatorConstraintInterface.validate @ validation/dto-compiler.ts',
    'class-validator: validate @ validation/dto-validator.ts',
  ],
  'a try of its own, which makes no closure for a message, and containResult() for what is returned': [
    'WsEventListener @ monitoring/ws-monitor.ts',
    'typescript: Reflect.apply @ socket/gateway-socket.ts',
  ],
  'called from such a place, which is given what it returns': [
    'WireProtocol.disconnect @ proxy/upstreams.ts',
    'WireProtocol.exception @ proxy/upstreams.ts',
    'typescript: CallableFunction.call @ monitoring/on-ws-event.ts',
    'typescript: CallableFunction.call @ socket/fenced-handlers.ts',
    'Handler.handleEvent @ socket/fenced-handlers.ts',
    'typescript: CallableFunction.call @ gateway/after-init.ts',
    'Method @ gateway/handlers.ts',
    // Which of the four is named here depends on the order in which TypeScript reads the files.
    '@nestjs/common: Logger.debug @ monitoring/log/nest-sink.ts',
    '@nestjs/common: Logger.error @ monitoring/log/nest-sink.ts',
    '@nestjs/common: Logger.log @ monitoring/log/nest-sink.ts',
    '@nestjs/common: Logger.warn @ monitoring/log/nest-sink.ts',
    '@nestjs/common: Logger.isLevelEnabled @ monitoring/log/nest-sink.ts',
    '@nestjs/common: Logger.warn @ gateway/after-init.ts',
    '@opentelemetry/api: Tracer.startSpan @ connection/open-telemetry.ts',
    '@opentelemetry/api: setSpan @ connection/open-telemetry.ts',
    '@opentelemetry/api: setSpanContext @ connection/open-telemetry.ts',
    '@opentelemetry/api: getSpanContext @ connection/open-telemetry.ts',
    '@opentelemetry/api: isSpanContextValid @ connection/open-telemetry.ts',
    '@opentelemetry/api: PropagationAPI.extract @ connection/open-telemetry.ts',
  ],
  'a try of its own, since its answer is needed at once': [
    'ChannelAuthorizer.authorize @ rooms/channel-rights.ts',
    'HealthCheck @ monitoring/health.ts',
    '@opentelemetry/api: ProxyTracerProvider.getDelegateTracer @ connection/open-telemetry.ts',
    '@opentelemetry/api: TraceAPI.getTracerProvider @ connection/open-telemetry.ts',
    '@opentelemetry/api: TracerProvider.getTracer @ connection/open-telemetry.ts',
  ],
  'a protocol: a try of its own where something is answered, and thrown on to the application where it pushes': [
    'MessageParser @ protocol/parsed.ts',
    'WireProtocol.decode @ connection/receive.ts',
    'WireProtocol.decode @ session/foreign-protocol.ts',
    'WireProtocol.disconnect @ connection/refusal.ts',
    'WireProtocol.disconnect @ session/foreign-protocol.ts',
    'WireProtocol.disconnect @ session/session.ts',
    'WireProtocol.exception @ session/foreign-protocol.ts',
    'WireProtocol.exception @ session/session.ts',
    'WireProtocol.push @ session/foreign-protocol.ts',
    'WireProtocol.push @ session/registry.ts',
    'WireProtocol.push @ session/session.ts',
    'WireProtocol.reply @ connection/request.ts',
    'WireProtocol.reply @ session/foreign-protocol.ts',
  ],
  'handed to the handshake, or to `auth`, which end in a code; bounded by Deadlines': [
    'Authenticator.authenticate @ authentication/verification.ts',
    'ClaimNames @ authentication/claims.ts',
    'ConnectionGuard.canConnect @ authentication/connection-guard.ts',
    'SubjectOf @ authentication/jwt/jwt-verifier.ts',
  ],
  'waited for with both outcomes, and bounded by the sweep': [
    'ConnectionHooks.connected @ connection/lifecycle.ts',
    'typescript: Function.call @ connection/lifecycle.ts',
    'Revalidate @ session/revalidation.ts',
  ],
  'a stream of the handler: its errors are the answer, and its end has a try': [
    'rxjs: Observable.subscribe @ connection/receive.ts',
    'rxjs: Observable.subscribe @ gateway/nest-enhancers.ts',
    'typescript: AsyncIterable.[Symbol.asyncIterator] @ connection/pulled-stream.ts',
    'typescript: AsyncIterator.next @ connection/pulled-stream.ts',
    'rxjs: Unsubscribable.unsubscribe @ connection/request.ts',
  ],
  'thrown on: the application emits by itself, or an upgrade is refused': [
    '@types/node: EventEmitter.emit @ connection/server.ts',
    '@types/node: EventEmitter.emit @ socket/gateway-socket.ts',
    'typescript: Reflect.apply @ connection/server.ts',
  ],
  'a generator of the client’s own': ['typescript: AsyncGenerator.return @ client/values.ts'],
  'Node calls the same listeners from the same place': ['@types/node: Server.emit @ connection/endpoint.ts'],
  'before the application listens, where what is wrong stops the start': [
    'RedisSource @ cluster/links.ts',
    '@nestjs/core: ModuleRef.create @ gateway/resolve-instance.ts',
    '@nestjs/common: Logger.warn @ connection/adapter.ts',
    '@nestjs/common: Logger.warn @ gateway/bind-gateways.ts',
    '@nestjs/common: Logger.warn @ gateway/handlers.ts',
    'class-validator: ValidatorConstraintInterface.defaultMessage @ validation/fast-predicates.ts',
    'class-validator: ValidatorConstraintInterface.validate @ validation/fast-predicates.ts',
  ],
};

describe('code that is not ours', () => {
  it('is called in a fence, or where it is known what holds it', { timeout: 120_000 }, () => {
    const calls = foreignCalls(new URL('..', import.meta.url).pathname.replace(/\/$/, ''));
    const uncontained = calls.filter(({ isContained }) => !isContained).map(({ call, place }) => `${call} @ ${place}`);
    const known = new Set(Object.values(HELD_ELSEWHERE).flat());
    // What is here and no longer there is no fault of who took it away, but is to go.
    expect([...new Set(uncontained)].filter((call) => !known.has(call)).toSorted()).toEqual([]);
    const contained = new Set(calls.filter(({ isContained }) => isContained).map(({ call }) => call));
    const fenced = ['AuditSink.write', 'AuditSink.close', 'FailureSink.write', 'ConnectionHooks.disconnected'];
    expect([...contained]).toEqual(expect.arrayContaining([...fenced, '@opentelemetry/api: Span.end']));
  });
});

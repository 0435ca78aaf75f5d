import {
  Catch,
  ConflictException,
  createParamDecorator,
  DefaultValuePipe,
  Inject,
  Injectable,
  NotFoundException,
  ParseArrayPipe,
  ParseBoolPipe,
  ParseEnumPipe,
  ParseIntPipe,
  ParseUUIDPipe,
  Scope,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
  ValidationPipe,
} from '@nestjs/common';
import type {
  ArgumentsHost,
  CallHandler,
  CanActivate,
  ExceptionFilter,
  ExecutionContext,
  NestInterceptor,
  PipeTransform,
  Provider,
} from '@nestjs/common';
import { ConnectedSocket, MessageBody, SubscribeMessage, WebSocketGateway, WsException } from '@nestjs/websockets';
import { IsInt, IsOptional, IsString, Min } from 'class-validator';
import { inspect } from 'node:util';
import {
  catchError,
  concat,
  concatMap,
  defer,
  EMPTY,
  from,
  map,
  Observable,
  of,
  switchMap,
  tap,
  throwError,
} from 'rxjs';
import type { WebSocket } from 'ws';
import type { Frame } from '../../support/client.js';
import type { Case } from './both.js';

const later = async <T>(value: T): Promise<T> => {
  await new Promise(setImmediate);
  return value;
};

class ItemDto {
  @IsInt() @Min(1) count!: number;
  @IsOptional() @IsString() note?: string;
}

class GroupedDto {
  @IsInt({ groups: ['create'] }) count!: number;
  @IsInt({ groups: ['update'] }) id!: number;
}

class ImplicitDto {
  @IsInt() count!: number;
}

const trace: string[] = [];
const given = (data: unknown): object => ({
  event: 'given',
  data: inspect(data, { depth: 9, breakLength: Infinity }),
});

@Injectable()
class AllowGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    trace.push(`guard ${context.getType()} ${context.getHandler().name} ${String(context.switchToWs().getPattern())}`);
    return true;
  }
}
const saying = (answer: () => ReturnType<CanActivate['canActivate']>): CanActivate => ({ canActivate: answer });

const mapping: NestInterceptor = {
  intercept: (_, next) => next.handle().pipe(map((answer: Frame) => ({ ...answer, data: [answer.data] }))),
};
const tracing = (name: string): NestInterceptor => ({
  intercept: (_, next: CallHandler) => {
    trace.push(`before ${name}`);
    return next.handle().pipe(tap(() => trace.push(`after ${name}`)));
  },
});
const caching: NestInterceptor = { intercept: () => of({ event: 'cached', data: 1 }) };
const promising: NestInterceptor = {
  intercept: async (_, next) => (await Promise.resolve(), next.handle().pipe(concatMap(later))),
};
const rescuing: NestInterceptor = {
  intercept: (_, next) => next.handle().pipe(catchError(() => of({ event: 'rescued', data: null }))),
};
const refusing: NestInterceptor = { intercept: () => throwError(() => new WsException('refused')) };
const payloadChanging: NestInterceptor = {
  intercept: (context, next) => {
    (context.switchToWs().getData() as { count: number }).count++;
    return next.handle();
  },
};

const plusOne: PipeTransform = { transform: (value: unknown) => (typeof value === 'number' ? value + 1 : value) };
const tracingPipe = (name: string): PipeTransform => ({
  transform: (value: unknown, { type }) => {
    if (type === 'body') trace.push(name);
    return value;
  },
});

@Catch(NotFoundException)
class NotFoundFilter implements ExceptionFilter {
  catch(_: NotFoundException, host: ArgumentsHost): void {
    host
      .switchToWs()
      .getClient<WebSocket>()
      .send(JSON.stringify({ event: 'filtered', data: 'not found' }));
  }
}

const FromClient = createParamDecorator((key: string, context: ExecutionContext) => {
  const body = context.switchToWs().getData<Record<string, unknown>>();
  return body[key];
});

@Injectable({ scope: Scope.REQUEST })
class RequestCounter {
  count = 0;
}

@Injectable()
class Service {
  readonly greeting = 'hello';
}

class BaseGateway {
  @SubscribeMessage('inherited')
  inherited(@MessageBody() dto: ItemDto): object {
    return given(dto);
  }
  @SubscribeMessage('overridden')
  overridden(): object {
    return given('base');
  }
}

@WebSocketGateway()
export class ShapesGateway extends BaseGateway {
  constructor(@Inject(Service) private readonly service: Service) {
    super();
  }

  // what a handler returns
  @SubscribeMessage('nothing') nothing(): void {}
  @SubscribeMessage('null') null(): null {
    return null;
  }
  @SubscribeMessage('frame') frame(): object {
    return { event: 'other', data: { a: [1, null] } };
  }
  @SubscribeMessage('frame promised') async framePromised(): Promise<object> {
    await new Promise(setImmediate);
    return { event: 'other', data: 1 };
  }
  @SubscribeMessage('nothing promised') async nothingPromised(): Promise<void> {
    await Promise.resolve();
  }
  @SubscribeMessage('frames') frames(): Observable<object> {
    return from([1, 2, 3]).pipe(map((data) => ({ event: 'step', data })));
  }
  @SubscribeMessage('frames later') framesLater(): Observable<object> {
    return from([1, 2]).pipe(
      map((data) => ({ event: 'step', data })),
      concatMap(later),
    );
  }
  @SubscribeMessage('frames promised') async framesPromised(): Promise<Observable<object>> {
    await Promise.resolve();
    return of({ event: 'step', data: 1 });
  }
  @SubscribeMessage('no frames') noFrames(): Observable<never> {
    return EMPTY;
  }
  @SubscribeMessage('frames, then an error') framesError(): Observable<object> {
    return concat(
      of({ event: 'step', data: 1 }),
      throwError(() => new WsException('late')),
    );
  }
  @SubscribeMessage('an Observable of promises') promises(): Observable<object> {
    return of(1).pipe(switchMap(async (data) => ({ event: 'step', data: await Promise.resolve(data) })));
  }
  @SubscribeMessage('a date') date(): object {
    return { event: 'date', data: new Date(0) };
  }
  @SubscribeMessage('toJSON') toJson(): object {
    return { event: 'json', data: { toJSON: () => 'as it says' } };
  }
  @SubscribeMessage('undefined members') undefinedMembers(): object {
    return { event: 'json', data: { a: undefined, b: 1 } };
  }
  @SubscribeMessage('a text') text(): string {
    return 'hello';
  }
  @SubscribeMessage('an object') object(): object {
    return { a: 1 };
  }
  @SubscribeMessage('a number') number(): number {
    return 0;
  }
  @SubscribeMessage('false') false(): boolean {
    return false;
  }
  @SubscribeMessage('an array') array(): unknown[] {
    return [1, 2];
  }
  @SubscribeMessage('values') values(): Observable<number> {
    return of(1, 2);
  }
  @SubscribeMessage('generator') async *generator(): AsyncGenerator<object> {
    yield { event: 'step', data: 1 };
    await new Promise(setImmediate);
    yield { event: 'step', data: 2 };
  }

  // what it is given
  @SubscribeMessage('no parameters') noParameters(): object {
    return given(this.service.greeting);
  }
  @SubscribeMessage('bare') bare(client: WebSocket, data: unknown): object {
    return given([typeof client.send, data]);
  }
  @SubscribeMessage('a DTO') dto(@MessageBody() dto: ItemDto): object {
    return given(dto);
  }
  @SubscribeMessage('a property') property(@MessageBody('count') count: number): object {
    return given(count);
  }
  @SubscribeMessage('two properties')
  twoProperties(@MessageBody('count') count: number, @MessageBody('note') note: string): object {
    return given([count, note]);
  }
  @SubscribeMessage('socket and body')
  socketAndBody(@ConnectedSocket() socket: WebSocket, @MessageBody() data: unknown): object {
    return given([socket.readyState, data]);
  }
  @SubscribeMessage('body and socket')
  bodyAndSocket(@MessageBody() dto: ItemDto, @ConnectedSocket() socket: WebSocket): object {
    return given([dto, socket.readyState]);
  }
  @SubscribeMessage('own decorator') own(@FromClient('note') note: string): object {
    return given(note);
  }
  @SubscribeMessage('own decorator and DTO')
  ownAndDto(@FromClient('note') note: string, @MessageBody() dto: ItemDto): object {
    return given([note, dto]);
  }
  @SubscribeMessage('ParseIntPipe') parseInt(@MessageBody('count', ParseIntPipe) count: number): object {
    return given(count);
  }
  @SubscribeMessage('ParseBoolPipe') parseBool(@MessageBody('yes', ParseBoolPipe) yes: boolean): object {
    return given(yes);
  }
  @SubscribeMessage('ParseUUIDPipe') parseUuid(@MessageBody('id', ParseUUIDPipe) id: string): object {
    return given(id);
  }
  @SubscribeMessage('ParseEnumPipe')
  parseEnum(@MessageBody('kind', new ParseEnumPipe({ a: 'a', b: 'b' })) kind: string): object {
    return given(kind);
  }
  @SubscribeMessage('ParseArrayPipe')
  parseArray(@MessageBody(new ParseArrayPipe({ items: ItemDto })) items: ItemDto[]): object {
    return given(items);
  }
  @SubscribeMessage('DefaultValuePipe')
  defaulted(@MessageBody('limit', new DefaultValuePipe(10), ParseIntPipe) limit: number): object {
    return given(limit);
  }
  @SubscribeMessage('a pipe of its own') ownPipe(@MessageBody('count', plusOne, plusOne) count: number): object {
    return given(count);
  }
  @UsePipes(tracingPipe('method'))
  @SubscribeMessage('order of pipes')
  pipes(@MessageBody(tracingPipe('parameter')) data: unknown): object {
    return given([trace, data]);
  }
  @UsePipes(new ValidationPipe({ transform: true, whitelist: true, groups: ['create'] }))
  @SubscribeMessage('groups')
  groups(@MessageBody() dto: GroupedDto): object {
    return given(dto);
  }
  @SubscribeMessage('groups of a parameter')
  groupsOfParameter(@MessageBody(new ValidationPipe({ transform: true, groups: ['update'] })) dto: GroupedDto): object {
    return given(dto);
  }
  @UsePipes(new ValidationPipe({ transform: true, transformOptions: { enableImplicitConversion: true } }))
  @SubscribeMessage('implicit conversion')
  implicit(@MessageBody() dto: ImplicitDto): object {
    return given(dto);
  }
  @UsePipes(new ValidationPipe({ transform: true, whitelist: true, forbidNonWhitelisted: true }))
  @SubscribeMessage('forbidNonWhitelisted')
  forbid(@MessageBody() dto: ItemDto): object {
    return given(dto);
  }
  @UsePipes(new ValidationPipe())
  @SubscribeMessage('no transform')
  noTransform(@MessageBody() dto: ItemDto): object {
    return given([dto, dto instanceof ItemDto]);
  }
  @UsePipes(new ValidationPipe({ transform: true, skipMissingProperties: true }))
  @SubscribeMessage('skipMissingProperties')
  skip(@MessageBody() dto: ItemDto): object {
    return given(dto);
  }
  @UsePipes(new ValidationPipe({ exceptionFactory: () => new WsException('in its own words') }))
  @SubscribeMessage('exceptionFactory')
  factory(@MessageBody() dto: ItemDto): object {
    return given(dto);
  }
  @UsePipes(new ValidationPipe({ transform: true, expectedType: ItemDto }))
  @SubscribeMessage('expectedType')
  expected(@MessageBody() dto: unknown): object {
    return given(dto);
  }
  @SubscribeMessage('overridden')
  override overridden(): object {
    return given('derived');
  }

  // who may call it
  @UseGuards(AllowGuard)
  @SubscribeMessage('a guard')
  guarded(@MessageBody() dto: ItemDto): object {
    return given([dto, trace.splice(0)]);
  }
  @UseGuards(saying(() => false))
  @SubscribeMessage('a guard that says no')
  refused(): object {
    return given('never');
  }
  @UseGuards(saying(() => Promise.resolve(false)))
  @SubscribeMessage('a guard that says no later')
  refusedLater(): object {
    return given('never');
  }
  @UseGuards(saying(() => of(true)))
  @SubscribeMessage('a guard of rxjs')
  guardOfRxjs(): object {
    return given('in');
  }
  @UseGuards(
    saying(() => {
      throw new WsException('no');
    }),
  )
  @SubscribeMessage('a guard that throws')
  guardThrows(): object {
    return given('never');
  }
  @UseGuards(AllowGuard, saying(() => false), AllowGuard)
  @SubscribeMessage('guards until the first no')
  guards(): object {
    return given('never');
  }
  @SubscribeMessage('trace') trace(): object {
    return given(trace.splice(0));
  }

  // what is around it
  @UseInterceptors(mapping) @SubscribeMessage('an interceptor') intercepted(): object {
    return { event: 'given', data: 1 };
  }
  @UseInterceptors(tracing('a'), tracing('b'))
  @SubscribeMessage('order of interceptors')
  interceptors(): object {
    return given([...trace]);
  }
  @UseInterceptors(caching) @SubscribeMessage('a cache') cached(): object {
    return given('never');
  }
  @UseInterceptors(promising) @SubscribeMessage('an interceptor that waits') waits(): object {
    return given('late');
  }
  @UseInterceptors(rescuing) @SubscribeMessage('an interceptor that rescues') rescued(): object {
    throw new Error('lost');
  }
  @UseInterceptors(rescuing) @SubscribeMessage('one that rescues a rejection') rescuedLater(): Promise<object> {
    return Promise.reject(new Error('lost'));
  }
  @UseInterceptors(refusing) @SubscribeMessage('an interceptor that refuses') refusing(): object {
    return given('never');
  }
  @UseInterceptors(mapping) @SubscribeMessage('an interceptor of a stream') streamed(): Observable<object> {
    return defer(() => from([1, 2])).pipe(map((data) => ({ event: 'step', data })));
  }
  @UseInterceptors(payloadChanging)
  @SubscribeMessage('an interceptor that changes the payload')
  changed(@MessageBody() dto: ItemDto): object {
    return given(dto);
  }
  @UseGuards(AllowGuard)
  @UseInterceptors(tracing('interceptor'))
  @UsePipes(tracingPipe('pipe'))
  @SubscribeMessage('order of all')
  order(@MessageBody(tracingPipe('parameter')) data: unknown): object {
    return given([trace, data]);
  }

  // how it fails
  @SubscribeMessage('WsException') wsException(): never {
    throw new WsException('text');
  }
  @SubscribeMessage('WsException later') async wsExceptionLater(): Promise<never> {
    await Promise.resolve();
    throw new WsException({ message: 'text', more: 1 });
  }
  @SubscribeMessage('HttpException') httpException(): never {
    throw new ConflictException();
  }
  @SubscribeMessage('Error') error(): never {
    throw new Error('lost');
  }
  @SubscribeMessage('a text thrown') textThrown(): never {
    throw 'lost' as unknown as Error;
  }
  @UseFilters(NotFoundFilter) @SubscribeMessage('a filter') filtered(): never {
    throw new NotFoundException();
  }
  @UseFilters(NotFoundFilter) @SubscribeMessage('a filter, later') filteredLater(): Promise<never> {
    return Promise.reject(new NotFoundException());
  }
  @UseFilters(NotFoundFilter) @SubscribeMessage('a filter of another error') otherFilter(): never {
    throw new WsException('text');
  }
}

/** A gateway of request scope in all but name: what it uses is made for each message. */
@WebSocketGateway()
export class ScopedGateway {
  constructor(private readonly counter: RequestCounter) {}

  @SubscribeMessage('request scope')
  count(): object {
    return given(this.counter.count++);
  }
}

@UsePipes(new ValidationPipe({ transform: true, groups: ['update'] }))
@UseGuards(AllowGuard)
@UseInterceptors(mapping)
@WebSocketGateway()
export class DecoratedGateway {
  @SubscribeMessage('decorated class')
  handle(@MessageBody() dto: GroupedDto): object {
    return given([dto, trace.splice(0).length]);
  }
}

export const shapeProviders: Provider[] = [Service, RequestCounter, AllowGuard];

const UUID = '6f1c1a52-6d3f-4a0e-8a3c-0d8c1f1d7c11';
const NAMED = 'PROTOCOL.md: a reply has the name of its request where the handler gives none';
const named = (event: string, data: unknown): Case['differs'] => ({ because: NAMED, ours: [{ event, data }] });

const same = (event: string, ...payloads: unknown[]): Case[] =>
  payloads.length === 0
    ? [{ name: event, event }]
    : payloads.map((data) => ({ name: `${event}: ${JSON.stringify(data) ?? 'nothing'}`, event, data }));
const different = (event: string, differs: Case['differs'], data?: unknown): Case => ({
  name: event,
  event,
  data,
  differs,
});

export const shapeCases: readonly Case[] = [
  ...['nothing', 'null', 'frame', 'frame promised', 'nothing promised', 'frames', 'frames later'].flatMap((n) =>
    same(n),
  ),
  ...['frames promised', 'no frames', 'frames, then an error', 'an Observable of promises'].flatMap((n) => same(n)),
  ...['a date', 'toJSON', 'undefined members'].flatMap((n) => same(n)),
  different('a text', named('a text', 'hello')),
  different('an object', named('an object', { a: 1 })),
  different('a number', named('a number', 0)),
  different('false', named('false', false)),
  different('an array', named('an array', [1, 2])),
  different('values', { because: NAMED, ours: [1, 2].map((data) => ({ event: 'values', data })) }),
  different('generator', {
    because: 'stock Nest sends the generator itself, as {}; here it is a stream',
    ours: [1, 2].map((data) => ({ event: 'step', data })),
  }),

  ...same('no parameters', undefined, {}),
  ...same('bare', undefined, { a: 1 }, 'x'),
  ...same('a DTO', { count: 1 }, { count: 0 }, { count: 1, role: 'admin' }, {}),
  ...same('a property', { count: 2 }, {}, { count: 'x' }),
  ...same('two properties', { count: 1, note: 'x' }, { count: 1 }),
  ...same('socket and body', { a: 1 }, undefined),
  ...same('body and socket', { count: 3 }, { count: 'x' }),
  ...same('own decorator', { note: 'x' }),
  ...same('own decorator and DTO', { note: 'x', count: 1 }),
  ...same('ParseIntPipe', { count: '12' }, { count: 'x' }),
  ...same('ParseBoolPipe', { yes: 'true' }, { yes: 'maybe' }),
  ...same('ParseUUIDPipe', { id: UUID }, { id: 'x' }),
  ...same('ParseEnumPipe', { kind: 'a' }, { kind: 'c' }),
  ...same('ParseArrayPipe', [{ count: 1 }], [{ count: 'x' }], {}),
  ...same('DefaultValuePipe', {}, { limit: 3 }),
  ...same('a pipe of its own', { count: 1 }),
  ...same('order of pipes', { a: 1 }),
  ...same('groups', { count: 1 }, { id: 1 }),
  ...same('groups of a parameter', { id: 1 }, { count: 1 }),
  ...same('implicit conversion', { count: '3' }),
  ...same('forbidNonWhitelisted', { count: 1 }, { count: 1, role: 'admin' }),
  ...same('no transform', { count: 1, role: 'admin' }),
  ...same('skipMissingProperties', {}, { count: 'x' }),
  ...same('exceptionFactory', { count: 'x' }, { count: 1 }),
  ...same('expectedType', { count: 1 }, { count: 'x' }),
  ...same('inherited', { count: 1 }, { count: 'x' }),
  ...same('overridden'),

  ...same('a guard', { count: 1 }, { count: 'x' }),
  ...['a guard that says no', 'a guard that says no later', 'a guard of rxjs', 'a guard that throws'].flatMap((n) =>
    same(n),
  ),
  ...same('guards until the first no'),

  ...['an interceptor', 'order of interceptors', 'a cache', 'an interceptor that waits'].flatMap((n) => same(n)),
  ...['an interceptor that rescues', 'one that rescues a rejection', 'an interceptor that refuses'].flatMap((n) =>
    same(n),
  ),
  ...same('an interceptor of a stream'),
  ...same('an interceptor that changes the payload', { count: 1 }),
  ...same('order of all', { a: 1 }),

  ...['WsException', 'WsException later', 'HttpException', 'Error', 'a text thrown'].flatMap((n) => same(n)),
  ...['a filter', 'a filter, later', 'a filter of another error'].flatMap((n) => same(n)),

  ...same('request scope'),
  ...same('decorated class', { id: 1 }, { count: 1 }),
];

/** What handlers left in the trace, so that each case begins with an empty one. */
export const clearTrace = (): void => void trace.splice(0);

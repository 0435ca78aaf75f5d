import { Controller, Get, Post, UseInterceptors } from '@nestjs/common';
import type { CallHandler } from '@nestjs/common';
import { ConnectedSocket, MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import type { WsResponse } from '@nestjs/websockets';
import { Transform, Type } from 'class-transformer';
import {
  ArrayMaxSize,
  IsArray,
  IsBoolean,
  IsEmail,
  IsIn,
  IsInt,
  IsISO8601,
  IsNumber,
  IsObject,
  IsOptional,
  IsString,
  IsUrl,
  IsUUID,
  Matches,
  Max,
  MaxLength,
  Min,
  ValidateNested,
} from 'class-validator';
import { concat, EMPTY, from, map, of, throwError, timer } from 'rxjs';
import type { Observable } from 'rxjs';
import {
  CurrentPrincipal,
  CurrentSession,
  EmailDto,
  GatewayError,
  PayloadDto,
  Public,
  Roles,
  Scopes,
} from '../../src/index.js';
import type { Principal, WsSession } from '../../src/index.js';

const soon = (): Promise<void> => new Promise(setImmediate);

class LineDto {
  @IsString() @MaxLength(40) article!: string;
  @IsInt() @Min(1) @Max(1_000) amount!: number;
  @IsOptional() @ValidateNested() @Type(() => LineDto) gift?: LineDto;
}

class OrderDto {
  @IsString() @Matches(/^[a-z]{1,8}$/) name!: string;
  @IsArray() @ArrayMaxSize(20) @ValidateNested({ each: true }) @Type(() => LineDto) lines!: LineDto[];
  @IsOptional() @IsObject() meta?: object;
  @IsOptional() @IsIn(['slow', 'fast']) speed?: string;
}

/** With what is not compiled: every class-validator rule it has stands behind Nest's own way, too. */
class WideDto {
  @IsOptional() @IsEmail() email?: string;
  @IsOptional() @IsUrl() url?: string;
  @IsOptional() @IsUUID() uuid?: string;
  @IsOptional() @IsISO8601() at?: string;
  @IsOptional() @IsBoolean() flag?: boolean;
  @IsOptional() @IsNumber() number?: number;
  @IsOptional() @IsString({ each: true }) tags?: string[];
  @IsOptional() @Type(() => Date) date?: Date;
  @IsOptional() @Transform(({ value }: { value: unknown }) => (Array.isArray(value) ? (value[0] as unknown) : value)) first?: string; // prettier-ignore
  @IsOptional() @ValidateNested({ each: true }) @Type(() => LineDto) map?: Map<string, LineDto>;
}

/** Named, so that data which looks like a WsResponse is still data. */
const echo = (data: unknown): WsResponse => ({ event: 'echo', data: data ?? null });

/** Closed handlers, answered at once and later, streamed, validated and failing. */
@WebSocketGateway()
export class OrdersGateway {
  @SubscribeMessage('order') order(@MessageBody() order: OrderDto): WsResponse {
    return echo(order.lines.length);
  }
  @SubscribeMessage('order.later') async orderLater(@MessageBody() order: OrderDto): Promise<number> {
    await soon();
    return order.lines.length;
  }
  @SubscribeMessage('wide') wide(@MessageBody() dto: WideDto): WsResponse {
    return echo(Object.keys(dto));
  }
  @SubscribeMessage('email') email(@MessageBody() { email }: EmailDto): WsResponse {
    return echo(email);
  }
  @SubscribeMessage('text') text(@MessageBody() { text }: PayloadDto): string {
    return text;
  }
  @SubscribeMessage('echo') echo(@MessageBody() data: unknown): WsResponse {
    return echo(data);
  }
  @SubscribeMessage('field') field(@MessageBody('name') name: unknown, @ConnectedSocket() socket: object): WsResponse {
    return echo([typeof name, typeof socket]);
  }
  @SubscribeMessage('nothing') nothing(): void {}
  @SubscribeMessage('later') async later(@MessageBody() data: unknown): Promise<WsResponse> {
    await soon();
    return echo(data);
  }
  @SubscribeMessage('stream') stream(@MessageBody() data: unknown): Observable<unknown> {
    return from([1, [data], 3]); // in a list, so that no value of a client's is taken for a WsResponse
  }
  @SubscribeMessage('stream.empty') streamEmpty(): Observable<never> {
    return EMPTY;
  }
  @SubscribeMessage('stream.later') streamLater(): Observable<number> {
    return timer(0).pipe(map(() => 1));
  }
  @SubscribeMessage('stream.failing') streamFailing(): Observable<unknown> {
    return concat(
      of(1),
      throwError(() => new GatewayError('CONFLICT')),
    );
  }
  @SubscribeMessage('fails') fails(): never {
    throw new Error('a fault of the application');
  }
  @SubscribeMessage('fails.later') async failsLater(): Promise<never> {
    await soon();
    throw new Error('a fault of the application');
  }
  @SubscribeMessage('__proto__') odd(): string {
    return 'odd';
  }
}

const passOn = { intercept: (_: unknown, next: CallHandler) => next.handle() };

/** Through Nest's own consumers, behind interceptors. */
@WebSocketGateway()
@UseInterceptors(passOn)
export class InterceptedGateway {
  @SubscribeMessage('i.order') order(@MessageBody() order: OrderDto): number {
    return order.lines.length;
  }
  @SubscribeMessage('i.later') async later(@CurrentPrincipal() principal: Principal): Promise<string> {
    await soon();
    return principal.subject;
  }
  @SubscribeMessage('stream.i') stream(): Observable<number> {
    return of(1, 2);
  }
}

/** Open and half open. */
@WebSocketGateway()
@Public()
export class PublicGateway {
  @SubscribeMessage('public.echo') echo(@MessageBody() data: unknown): WsResponse {
    return echo(data);
  }
  @SubscribeMessage('public.text') text(@MessageBody() { text }: PayloadDto): string {
    return text;
  }
  @SubscribeMessage('stream.public') async stream(): Promise<Observable<number>> {
    await soon();
    return of(1, 2);
  }
  @SubscribeMessage('public.who') who(@CurrentSession() session: WsSession): unknown {
    return session.principal?.subject;
  }
  @Roles('admin') @SubscribeMessage('admin') admin(): string {
    return 'admin';
  }
  @Scopes('nobody:has') @SubscribeMessage('scoped') scoped(): string {
    return 'scoped';
  }
}

/** At a path of its own, with an asynchronous handleConnection. */
@WebSocketGateway({ path: '/orders' })
export class OtherPathGateway {
  async handleConnection(): Promise<void> {
    await soon();
  }
  @SubscribeMessage('echo') echo(@MessageBody() data: unknown): WsResponse {
    return echo(data);
  }
}

@Controller()
export class PagesController {
  @Get('page') page(): string {
    return 'a page';
  }
  @Post('page') post(): string {
    return 'posted';
  }
}

/** Events whose reply is a stream, once the handler has been reached. */
export const isStreamed = (event: string): boolean => event.startsWith('stream');

/** Handlers of the target that end in INTERNAL on purpose. */
export const FAILING: readonly string[] = ['fails', 'fails.later'];

import { Module } from '@nestjs/common';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { IsIn, IsOptional, IsString, IsUUID, MaxLength } from 'class-validator';
import { CurrentSession, OnWsEvent, Public, Roles, UseProtocol } from 'nestjs-ws-gateway';
import { readJson, WsGatewayModule, WsProtocol, WsRooms, WsSession } from 'nestjs-ws-gateway';
import type { Decoded, DisconnectData, ExceptionData, ProtocolOptions, Reply, RoomEvent } from 'nestjs-ws-gateway';

const LANGUAGES = ['de', 'en'];

class EnterDto {
  @IsUUID() visitor!: string;
  @IsString() @MaxLength(100) page!: string;
  @IsIn(LANGUAGES) language!: string;
}

class WaveDto {
  @IsString() @MaxLength(100) text!: string;
}

class AnnounceDto {
  @IsString() @MaxLength(1_000) text!: string;
  @IsOptional() @IsIn(LANGUAGES) language?: string;
}

class PageDto {
  @IsString() @MaxLength(100) page!: string;
}

/** What the pages of the blog have always spoken: `{ type, payload }`, both ways. */
export class BlogProtocol extends WsProtocol {
  override readonly takesBinary = false;
  decode(message: string | Buffer, _isBinary: boolean, _session: WsSession, options: ProtocolOptions): Decoded {
    const { type, payload } = readJson(message, options) as { type: string; payload?: unknown };
    return { event: type, data: payload };
  }
  reply({ event, data }: Reply): string {
    return this.push(event, data);
  }
  push(type: string, payload: unknown): string {
    return JSON.stringify({ type, payload });
  }
  exception({ code, message }: ExceptionData): string {
    return this.push('error', { code, message });
  }
  disconnect({ code, reconnect }: DisconnectData): string {
    return this.push('bye', { code, reconnect });
  }
}

/** For visitors, who need no token: a room for each page, one for each language, and one for the site. */
@Public()
@UseProtocol(BlogProtocol)
@WebSocketGateway({ path: '/site' })
export class SiteGateway {
  constructor(private readonly rooms: WsRooms) {}

  handleConnection(socket: object): void {
    WsSession.of(socket).send('greeting', { languages: LANGUAGES });
  }

  /** Also on another page: the visitor leaves the one before. */
  @SubscribeMessage('enter')
  async enter(@MessageBody() { visitor, page, language }: EnterDto, @CurrentSession() session: WsSession<PageDto>) {
    for (const room of session.rooms) session.leave(room);
    const as = { visitor };
    session.join('site', { as });
    session.join(`language:${language}`);
    session.join(`page:${page}`, { as });
    session.state.page = page;
    const online = await this.rooms.count('site', 'visitor');
    return { online: online.distinct, here: await this.here(`page:${page}`) }; // a visitor with three tabs is one
  }

  /** To all others on the same page. */
  @SubscribeMessage('wave')
  async wave(@MessageBody() { text }: WaveDto, @CurrentSession() session: WsSession<Partial<PageDto>>) {
    const { page } = session.state;
    if (page === undefined) return 0;
    return (await this.rooms.to(`page:${page}`).except(session).emit('waved', { text })).local;
  }

  /** Who is still on a page hears how many they are, also when a connection has broken. */
  @OnWsEvent('room')
  async changed({ room }: RoomEvent): Promise<void> {
    if (room.startsWith('page:')) await this.rooms.publish(room, 'here', await this.here(room), { volatile: true });
  }

  private async here(room: string): Promise<number> {
    return (await this.rooms.count(room, 'visitor')).distinct;
  }
}

/** For those who run the site. */
@Roles('admin')
@UseProtocol(BlogProtocol)
@WebSocketGateway({ path: '/admin' })
export class AdminGateway {
  constructor(private readonly rooms: WsRooms) {}

  @SubscribeMessage('announce')
  async announce(@MessageBody() { text, language }: AnnounceDto): Promise<number> {
    const room = language === undefined ? 'site' : `language:${language}`;
    return (await this.rooms.publish(room, 'announcement', { text })).local;
  }

  @SubscribeMessage('visitors')
  async visitors(@MessageBody() { page }: PageDto) {
    const { items } = await this.rooms.members(`page:${page}`);
    return items.map(({ since, as }) => ({ since, visitor: as?.visitor }));
  }
}

const auth = { jwt: { secret: process.env.JWT_SECRET ?? '' }, anonymous: true };
const paths = { '/admin': { auth: { anonymous: false } } };
@Module({
  imports: [WsGatewayModule.forRoot({ auth, paths, rooms: { maxPerSession: 3 } })],
  providers: [SiteGateway, AdminGateway],
})
export class VisitorsModule {}

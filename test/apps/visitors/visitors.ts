import { Module } from '@nestjs/common';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { IsIn, IsOptional, IsString, IsUUID, MaxLength } from 'class-validator';
import { CurrentSession, OnWsEvent, Public, Roles, WsGatewayModule, WsRooms, WsSession } from 'nestjs-ws-gateway';
import type { RoomEvent } from 'nestjs-ws-gateway';

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

interface Visit {
  page?: string;
}

/** Everybody on the site: a room for each page, one for each language, and one for all. */
@WebSocketGateway({ path: '/site' })
export class SiteGateway {
  constructor(private readonly rooms: WsRooms) {}

  handleConnection(socket: object): void {
    WsSession.of(socket).send('greeting', { languages: LANGUAGES });
  }

  /** Also on another page: the visitor leaves the one before. */
  @Public()
  @SubscribeMessage('enter')
  async enter(@MessageBody() { visitor, page, language }: EnterDto, @CurrentSession() session: WsSession<Visit>) {
    for (const room of session.rooms) session.leave(room);
    const as = { visitor };
    session.join('site', { as });
    session.join(`language:${language}`);
    session.join(`page:${page}`, { as });
    session.state.page = page;
    const [site, here] = await Promise.all([
      this.rooms.count('site', 'visitor'),
      this.rooms.count(`page:${page}`, 'visitor'),
    ]);
    return { online: site.distinct, here: here.distinct }; // a visitor with three tabs is one
  }

  /** To all others on the same page. */
  @Public()
  @SubscribeMessage('wave')
  async wave(@MessageBody() { text }: WaveDto, @CurrentSession() session: WsSession<Visit>): Promise<number> {
    const { page } = session.state;
    if (page === undefined) return 0;
    return (await this.rooms.to(`page:${page}`).except(session).emit('waved', { text })).local;
  }

  /** Who is still on a page hears how many they are, also when a connection has broken. */
  @OnWsEvent('room')
  async changed({ room }: RoomEvent): Promise<void> {
    if (!room.startsWith('page:')) return;
    const { distinct } = await this.rooms.count(room, 'visitor');
    await this.rooms.publish(room, 'here', distinct, { volatile: true });
  }
}

/** For those who run the site. */
@Roles('admin')
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

@Module({
  imports: [
    WsGatewayModule.forRoot({
      auth: { jwt: { secret: process.env.JWT_SECRET ?? '' }, anonymous: true },
      rooms: { maxPerSession: 3 },
    }),
  ],
  providers: [SiteGateway, AdminGateway],
})
export class VisitorsModule {}

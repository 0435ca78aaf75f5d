import { Controller, Get, Header, HttpCode, Param, Post, Query, Req, UseGuards } from '@nestjs/common';
import { GatewayError } from '../../protocol/errors.js';
import type { Position } from '../../engine/engine.js';
import { cursorOf, invalid } from '../../rooms/channel-requests.js';
import { MAX_PAGE, Members, PAGE } from '../../rooms/members.js';
import { Rooms } from '../../rooms/rooms.js';
import type { HistoryItem, RoomMember } from '../../rooms/ws-rooms.js';
import { AdminActs } from './admin-acts.js';
import { Backend, bodyOf } from './backend.js';
import { Everywhere } from './everywhere.js';
import type { InChannel } from './everywhere.js';
import { BearerGuard, RequireScope } from './bearer.guard.js';
import type { AuthenticatedRequest } from './bearer.guard.js';
import { readJson } from './json-body.js';

const MAX_BODY_BYTES = 16_384;
/** Of the messages on one page of a history; one message may be more. */
const MAX_HISTORY_BYTES = 1_048_576;

interface ChannelState extends Partial<Position> {
  readonly count: { readonly sessions: number; readonly subjects: number };
}

type Query = Readonly<Record<string, unknown>>;

/** For backends in any language: who is in a channel, and what it keeps. */
@Controller('channels/:channel')
@UseGuards(BearerGuard)
@RequireScope('ws-gateway:publish')
export class ChannelsController {
  constructor(
    private readonly backend: Backend,
    private readonly rooms: Rooms,
    private readonly members: Members,
    private readonly everywhere: Everywhere,
    private readonly acts: AdminActs,
  ) {}

  @Get()
  @Header('Cache-Control', 'no-store')
  async state(@Param('channel') channel: string, @Req() request: AuthenticatedRequest): Promise<ChannelState> {
    const { history } = this.backend.demand(request, channel);
    const count = this.members.count(channel);
    if (history === undefined) return { count };
    const { position } = await this.rooms.history(channel, undefined, 1);
    return { count, ...position };
  }

  @Get('presence')
  @Header('Cache-Control', 'no-store')
  presence(
    @Param('channel') channel: string,
    @Query() query: Query,
    @Req() request: AuthenticatedRequest,
  ): { items: RoomMember[]; next?: string } {
    if (this.backend.demand(request, channel).presence === false) throw new GatewayError('FORBIDDEN');
    const limit = limitOf(query.limit);
    const cursor = cursorOf(query.cursor);
    return this.members.page(channel, { limit, ...(cursor !== undefined && { cursor }) });
  }

  @Get('history')
  @Header('Cache-Control', 'no-store')
  async history(
    @Param('channel') channel: string,
    @Query() query: Query,
    @Req() request: AuthenticatedRequest,
  ): Promise<Position & { items: readonly HistoryItem[]; recovered: boolean; reason?: string }> {
    this.backend.demand(request, channel);
    const since = sinceOf(query.since);
    const limit = { messages: limitOf(query.limit), bytes: MAX_HISTORY_BYTES };
    const { position, ...rest } = await this.rooms.historyPage(channel, since, limit);
    return { ...position, ...rest };
  }

  /** The sessions stay until they end, or a backend takes them out; the rules are not asked. */
  @Post('subscribe')
  @HttpCode(200)
  async subscribe(@Param('channel') channel: string, @Req() request: AuthenticatedRequest): Promise<InChannel> {
    this.backend.demand(request, channel);
    const whose = bodyOf(await readJson(request, MAX_BODY_BYTES), ['sessionId', 'subject']);
    const { done, refused } = await this.everywhere.subscribe(this.backend.whoseOf(whose), channel);
    this.#told(request, 'channels.subscribe', whose, done);
    if (refused !== undefined) throw refused; // the others are in
    return done;
  }

  @Post('unsubscribe')
  @HttpCode(200)
  async unsubscribe(@Param('channel') channel: string, @Req() request: AuthenticatedRequest): Promise<InChannel> {
    this.backend.demand(request, channel);
    const whose = bodyOf(await readJson(request, MAX_BODY_BYTES), ['sessionId', 'subject']);
    const done = await this.everywhere.unsubscribe(this.backend.whoseOf(whose), channel);
    return this.#told(request, 'channels.unsubscribe', whose, done);
  }

  #told(
    request: AuthenticatedRequest,
    act: string,
    { sessionId, subject }: Readonly<Record<string, unknown>>,
    done: InChannel,
  ): InChannel {
    this.acts.tell(request, act, {
      ...(typeof sessionId === 'string' && { sessionId }),
      ...(typeof subject === 'string' && { subject }),
      details: { sessions: done.sessions },
    });
    return done;
  }
}

function limitOf(limit: unknown): number {
  if (limit === undefined) return PAGE;
  const value = typeof limit === 'string' && /^\d{1,4}$/.test(limit) ? Number(limit) : 0;
  if (value >= 1 && value <= MAX_PAGE) return value;
  throw invalid('limit', 'limit', `limit must be a whole number from 1 to ${MAX_PAGE}`);
}

/** `epoch:offset` */
function sinceOf(since: unknown): Position | undefined {
  if (since === undefined) return undefined;
  const [, epoch, offset] = (typeof since === 'string' && /^([^:]{1,64}):(\d{1,15})$/.exec(since)) || [];
  if (epoch === undefined) throw invalid('since', 'since', 'since must be an epoch and an offset with a colon between');
  return { epoch, offset: Number(offset) };
}

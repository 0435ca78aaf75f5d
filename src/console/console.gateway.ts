import { Inject } from '@nestjs/common';
import { MessageBody, SubscribeMessage } from '@nestjs/websockets';
import { IsArray, IsInt, IsNotEmpty, IsOptional, IsString, Matches, Max, MaxLength, Min } from 'class-validator';
import { finalize } from 'rxjs';
import type { Observable } from 'rxjs';
import type { Principal } from '../authentication/principal.js';
import { definedOf } from '../base/defined.js';
import type { BanTarget } from '../firewall/bans.js';
import { WsFirewall } from '../firewall/ws-firewall.js';
import { CurrentSession, OwnGateway, Scopes } from '../gateway/decorators.js';
import { WsMonitor } from '../monitoring/ws-monitor.js';
import type { AdminEvent } from '../monitoring/ws-monitor.js';
import { GatewayError } from '../protocol/errors.js';
import { WsSession } from '../session/ws-session.js';
import { WsSessions } from '../session/ws-sessions.js';
import { ConsoleData } from './console-data.js';
import { CONSOLE_OPTIONS } from './options.js';
import type { ConsoleOptions } from './options.js';
import type { About, EventRow, Failures, FirewallReply, Live, RoomsReply, SessionsReply } from './wire.js';

/** The scope that all data needs. */
export const ADMIN_SCOPE = 'ws-gateway:admin';

/** Most consoles that are open at a time. */
const MAX_CONSOLES = 3;

/** Longest time of a ban from the console, and of a minted token. */
const [MAX_BAN_MS, MAX_TOKEN_SECONDS] = [31_536_000_000, 3_600];

class SessionsDto {
  @IsOptional() @IsString() @IsNotEmpty() @MaxLength(1_024) subject?: string;
  @IsOptional() @IsString() @IsNotEmpty() @MaxLength(64) clientAddress?: string;
  @IsOptional() @IsString() @IsNotEmpty() @MaxLength(64) sessionId?: string;
  @IsOptional() @Matches(/^[0-9a-z]{1,11}$/) cursor?: string;
}

class EndDto {
  @IsString() @IsNotEmpty() @MaxLength(64) sessionId!: string;
}

class BanDto {
  @IsOptional() @IsString() @IsNotEmpty() @MaxLength(64) address?: string;
  @IsOptional() @IsString() @IsNotEmpty() @MaxLength(1_024) subject?: string;
  @IsInt() @Min(1) @Max(MAX_BAN_MS) forMs!: number;
  @IsOptional() @IsString() @MaxLength(200) reason?: string;
}

class UnbanDto {
  @Matches(/^[\w-]{22}$/) id!: string;
}

class MintDto {
  @IsString() @IsNotEmpty() @MaxLength(128) sub!: string;
  @IsArray() @IsString({ each: true }) @MaxLength(128, { each: true }) roles!: string[];
  @IsString() @MaxLength(1_024) scope!: string;
  @IsInt() @Min(1) @Max(MAX_TOKEN_SECONDS) seconds!: number;
}

/** What the page of the console asks. Everything needs the scope of administrators, and what one of them does is in the audit. */
@OwnGateway()
@Scopes(ADMIN_SCOPE)
export class ConsoleGateway {
  readonly #opened = new WeakSet<WsSession>();
  #open = 0;

  constructor(
    private readonly data: ConsoleData,
    private readonly sessions: WsSessions,
    private readonly firewall: WsFirewall,
    private readonly monitor: WsMonitor,
    @Inject(CONSOLE_OPTIONS) private readonly options: ConsoleOptions,
  ) {}

  /** The numbers of the last 15 minutes, then those of each second. */
  @SubscribeMessage('ws-gateway.live')
  live(@CurrentSession() session: WsSession): Observable<Live> {
    if (this.#open >= MAX_CONSOLES) {
      throw new GatewayError('CONSOLE_LIMIT', {
        message: `${MAX_CONSOLES} consoles are open already; close one of them`,
      });
    }
    this.#open++;
    if (!this.#opened.has(session)) {
      this.#opened.add(session);
      this.#tell(session, 'console.open');
    }
    return this.data.history.live().pipe(finalize(() => this.#open--));
  }

  @SubscribeMessage('ws-gateway.failures')
  failures(): Observable<Failures> {
    return this.data.failures.live();
  }

  @SubscribeMessage('ws-gateway.about')
  about(@CurrentSession() { principal }: WsSession): About {
    return this.data.about((principal as Principal).subject); // because the guard has let it through
  }

  @SubscribeMessage('ws-gateway.sessions')
  list(@MessageBody() query: SessionsDto): SessionsReply {
    return this.data.sessions(definedOf(query));
  }

  @SubscribeMessage('ws-gateway.sessions.end')
  async end(@MessageBody() { sessionId }: EndDto, @CurrentSession() session: WsSession): Promise<{ ended: number }> {
    const { ended } = await this.sessions.revoke({ sessionId });
    this.#tell(session, 'sessions.revoke', { sessionId, details: { revoked: ended } });
    return { ended };
  }

  @SubscribeMessage('ws-gateway.firewall')
  state(): FirewallReply {
    return this.data.firewallState();
  }

  @SubscribeMessage('ws-gateway.ban')
  async ban(
    @MessageBody() { address, subject, forMs, reason }: BanDto,
    @CurrentSession() session: WsSession,
  ): Promise<void> {
    const target = definedOf({ address, subject }) as BanTarget; // because ban() checks it
    try {
      await this.firewall.ban(target, { forMs, actor: actorOf(session), ...(reason !== undefined && { reason }) });
    } catch (error) {
      if (error instanceof TypeError) throw new GatewayError('VALIDATION_FAILED', { message: error.message });
      throw error;
    }
    this.#tell(session, 'bans.add', { ...(subject !== undefined && { subject }), details: { forMs } });
  }

  @SubscribeMessage('ws-gateway.unban')
  async unban(@MessageBody() { id }: UnbanDto, @CurrentSession() session: WsSession): Promise<void> {
    const target = this.data.bannedBy(id);
    const wasBanned = target !== undefined && (await this.firewall.unban(target, { actor: actorOf(session) }));
    if (!wasBanned) throw new GatewayError('NOT_FOUND');
    this.#tell(session, 'bans.lift', {
      ...('subject' in target && { subject: target.subject }),
      details: { wasBanned },
    });
  }

  @SubscribeMessage('ws-gateway.events')
  events(): EventRow[] {
    return this.data.events();
  }

  @SubscribeMessage('ws-gateway.rooms')
  rooms(): RoomsReply {
    return this.data.rooms();
  }

  /** A token of the playground, where the application gives one away. */
  @SubscribeMessage('ws-gateway.mint')
  async mint(@MessageBody() claims: MintDto, @CurrentSession() session: WsSession): Promise<{ token: string }> {
    const { mint } = this.options;
    if (mint === undefined)
      throw new GatewayError('FORBIDDEN', { message: 'Tokens are minted with a made-up secret only' });
    const token = await mint({ ...claims });
    this.#tell(session, 'tokens.mint', { subject: claims.sub });
    return { token };
  }

  #tell(session: WsSession, act: string, what: Pick<AdminEvent, 'subject' | 'sessionId' | 'details'> = {}): void {
    const { id: sessionId, clientAddress } = session;
    this.monitor.emit({ kind: 'admin', actor: actorOf(session), act, clientAddress, sessionId, ...what });
  }
}

function actorOf({ principal }: WsSession): string {
  return (principal as Principal).subject; // because the guard has let it through
}

import { Body, Controller, Delete, Get, Header, HttpCode, Post, Query, Req, UseGuards } from '@nestjs/common';
import { IsInt, IsIP, IsNotEmpty, IsOptional, IsString, Matches, Max, MaxLength, Min } from 'class-validator';
import type { Ban, BanTarget } from '../../firewall/bans.js';
import { WsFirewall } from '../../firewall/ws-firewall.js';
import { MAX_BAN_MS } from '../../firewall/options.js';
import { dtoValidator } from '../../validation/dto-validator.js';
import { GatewayError } from '../../protocol/errors.js';
import { AdminActs } from './admin-acts.js';
import { BearerGuard, RequireScope } from './bearer.guard.js';
import type { AuthenticatedRequest } from './bearer.guard.js';
import { numberIn } from './query.js';

const PAGE = 100;

class BansQueryDto {
  @IsOptional() @IsInt() @Min(1) @Max(1_000) limit?: number;
  @IsOptional() @Matches(/^\d{1,6}$/) cursor?: string;
}

class TargetDto {
  @IsOptional() @Matches(/^[0-9A-Fa-f:.]{2,45}(\/64)?$/) address?: string;
  @IsOptional() @IsString() @IsNotEmpty() @MaxLength(1_024) subject?: string;
}

class BanDto {
  @IsOptional() @IsIP() address?: string;
  @IsOptional() @IsString() @IsNotEmpty() @MaxLength(1_024) subject?: string;
  @IsInt() @Min(1) @Max(MAX_BAN_MS) forMs!: number;
  @IsOptional() @IsString() @MaxLength(256) reason?: string;
}

const queries = dtoValidator(BansQueryDto);
const targets = dtoValidator(TargetDto);
const bans = dtoValidator(BanDto);

/** Bans, for operators with a token that has the scope `ws-gateway:admin`. */
@Controller('admin/bans')
@UseGuards(BearerGuard)
@RequireScope('ws-gateway:admin')
export class BansController {
  constructor(
    private readonly firewall: WsFirewall,
    private readonly acts: AdminActs,
  ) {}

  /** Page by page, the oldest first; one that comes or goes meanwhile may move another to the next page. */
  @Get()
  @Header('Cache-Control', 'no-store')
  async list(
    @Query() query: Record<string, unknown>,
    @Req() request: AuthenticatedRequest,
  ): Promise<{ items: Ban[]; next?: string }> {
    const { limit = PAGE, cursor = '0' } = await queries.validate(numberIn(query, 'limit'));
    this.acts.tell(request, 'bans.list');
    const from = Number(cursor);
    const all = this.firewall.bans();
    const next = from + limit < all.length && { next: String(from + limit) };
    return { items: all.slice(from, from + limit), ...next };
  }

  @Post()
  async ban(@Body() body: unknown, @Req() request: AuthenticatedRequest): Promise<Ban> {
    const { forMs, reason, ...target } = await bans.validate(body);
    const actor = request.principal.subject;
    const given = { forMs, actor, ...(reason !== undefined && { reason }) };
    const ban = await asked(() => this.firewall.ban(target as BanTarget, given));
    this.acts.tell(request, 'bans.add', { ...subjectOf(ban), details: { forMs } });
    return ban;
  }

  @Delete()
  @HttpCode(204)
  async lift(@Query() query: unknown, @Req() request: AuthenticatedRequest): Promise<void> {
    const target = await targets.validate(query);
    const actor = request.principal.subject;
    const wasBanned = await asked(() => this.firewall.unban(target as BanTarget, { actor }));
    this.acts.tell(request, 'bans.lift', { ...subjectOf(target as BanTarget), details: { wasBanned } });
    if (!wasBanned) throw new GatewayError('NOT_FOUND');
  }
}

/** The record of the ban itself has its address. */
function subjectOf(target: BanTarget): { subject?: string } {
  return 'subject' in target ? { subject: target.subject } : {};
}

/** What the firewall finds wrong with a target is the caller's fault. */
async function asked<T>(act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (error instanceof TypeError) throw new GatewayError('VALIDATION_FAILED', { message: error.message });
    throw error;
  }
}

import { Body, Controller, Get, Header, HttpCode, Post, Query, Req, UseGuards } from '@nestjs/common';
import { IsInt, IsNotEmpty, IsNumber, IsOptional, IsString, Matches, Max, MaxLength, Min } from 'class-validator';
import { WsCluster } from '../../engine/ws-cluster.js';
import type { NodeInfo } from '../../engine/ws-cluster.js';
import { WsSessions } from '../../session/ws-sessions.js';
import { dtoValidator } from '../../validation/dto-validator.js';
import { GatewayError } from '../../protocol/errors.js';
import { AdminActs } from './admin-acts.js';
import { Everywhere } from './everywhere.js';
import { BearerGuard, RequireScope } from './bearer.guard.js';
import type { AuthenticatedRequest } from './bearer.guard.js';
import { numberIn } from './query.js';

class SessionQueryDto {
  @IsOptional() @IsString() @IsNotEmpty() @MaxLength(1_024) subject?: string;
  @IsOptional() @IsInt() @Min(1) @Max(1_000) limit?: number;
  @IsOptional() @Matches(/^(?:[0-9a-f-]{36}\.[0-9a-z]{0,11}|[0-9a-z]{1,11})$/) cursor?: string;
}

class RevokeDto {
  @IsOptional() @IsString() @IsNotEmpty() @MaxLength(64) sessionId?: string;
  @IsOptional() @IsString() @IsNotEmpty() @MaxLength(1_024) subject?: string;
  @IsOptional() @IsString() @IsNotEmpty() @MaxLength(1_024) tokenId?: string;
  @IsOptional() @IsString() @IsNotEmpty() @MaxLength(1_024) issuer?: string;
  @IsOptional() @IsNumber() @Min(0) issuedBefore?: number;
}

const queries = dtoValidator(SessionQueryDto);
const filters = dtoValidator(RevokeDto);

/** For operators, with a token that has the scope `ws-gateway:admin`. */
@Controller('admin')
@UseGuards(BearerGuard)
@RequireScope('ws-gateway:admin')
export class AdminController {
  constructor(
    private readonly sessions: WsSessions,
    private readonly acts: AdminActs,
    private readonly everywhere: Everywhere,
    private readonly cluster: WsCluster,
  ) {}

  @Get('sessions')
  @Header('Cache-Control', 'no-store')
  async list(
    @Query() query: Record<string, unknown>,
    @Req() request: AuthenticatedRequest,
  ): ReturnType<Everywhere['list']> {
    const { subject, limit, cursor } = await queries.validate(numberIn(query, 'limit'));
    const filter = subject !== undefined && { subject };
    const page = await this.everywhere.list({
      ...filter,
      ...(limit !== undefined && { limit }),
      ...(cursor !== undefined && { cursor }),
    });
    this.acts.tell(request, 'sessions.list', { ...filter });
    return page;
  }

  /** The nodes that live. */
  @Get('nodes')
  @Header('Cache-Control', 'no-store')
  nodes(@Req() request: AuthenticatedRequest): { items: readonly NodeInfo[] } {
    this.acts.tell(request, 'nodes.list');
    return { items: this.cluster.nodes() };
  }

  @Post('revoke')
  @HttpCode(200)
  async revoke(
    @Body() body: unknown,
    @Req() request: AuthenticatedRequest,
  ): Promise<{ revoked: number; nodes?: number; missing?: readonly string[] }> {
    const filter = await filters.validate(body);
    try {
      const { ended: revoked, nodes, missing } = await this.sessions.revoke(filter);
      const { sessionId, subject, ...details } = filter;
      this.acts.tell(request, 'sessions.revoke', {
        ...(sessionId !== undefined && { sessionId }),
        ...(subject !== undefined && { subject }),
        details: { ...details, revoked },
      });
      return this.cluster.state === 'single' ? { revoked } : { revoked, nodes, missing };
    } catch (error) {
      if (error instanceof TypeError) throw new GatewayError('VALIDATION_FAILED', { message: error.message });
      throw error;
    }
  }
}

import { Controller, Get, Header, Res } from '@nestjs/common';
import { WsSessions } from '../connection/sessions.js';

/** Liveness and readiness, as a load balancer and an orchestrator ask for them. */
@Controller()
export class HealthController {
  constructor(private readonly sessions: WsSessions) {}

  @Get('healthz')
  @Header('Cache-Control', 'no-store')
  healthz(): { status: 'ok' } {
    return { status: 'ok' };
  }

  /** 503 from the first moment of a shutdown: new clients are to go elsewhere. */
  @Get('readyz')
  @Header('Cache-Control', 'no-store')
  readyz(@Res({ passthrough: true }) response: { status(code: number): unknown }): { status: string } {
    if (!this.sessions.refusesNew) return { status: 'ready' };
    response.status(503);
    return { status: 'shutting down' };
  }
}

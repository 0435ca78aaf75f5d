import { Controller, Get, Header, Res } from '@nestjs/common';
import { WsHealth } from '../../monitoring/health.js';

interface ReadinessAnswer {
  readonly status: 'ready' | 'not ready';
  readonly reasons?: readonly string[];
  readonly warnings?: readonly string[];
}

/** Paths of the probes: open to every address, and bounded by themselves. */
export const PROBES = ['/healthz', '/readyz'];

/** Liveness and readiness, as a load balancer and an orchestrator ask for them. */
@Controller()
export class HealthController {
  constructor(private readonly health: WsHealth) {}

  @Get('healthz')
  @Header('Cache-Control', 'no-store')
  healthz(): { status: 'ok' } {
    return { status: 'ok' };
  }

  /** 503 with the reasons: from the first moment of a shutdown, for one, since new clients are to go elsewhere. */
  @Get('readyz')
  @Header('Cache-Control', 'no-store')
  readyz(@Res({ passthrough: true }) response: { status(code: number): unknown }): ReadinessAnswer {
    const { ready, reasons, warnings } = this.health.readiness();
    response.status(ready ? 200 : 503);
    return {
      status: ready ? 'ready' : 'not ready',
      ...(!ready && { reasons }),
      ...(warnings.length > 0 && { warnings }),
    };
  }
}

import { Controller, Get, Header, Headers, Injectable, Res, UseGuards } from '@nestjs/common';
import type { OnApplicationBootstrap } from '@nestjs/common';
import { WsMetrics } from '../../monitoring/metrics/ws-metrics.js';
import { BearerGuard, RequireScope } from './bearer.guard.js';

interface Response {
  setHeader(name: string, value: string): unknown;
}

/** Beside the module's own metrics, those that prom-client has of a process: memory, CPU, garbage. */
@Injectable()
export class ProcessMetrics implements OnApplicationBootstrap {
  constructor(private readonly metrics: WsMetrics) {}

  async onApplicationBootstrap(): Promise<void> {
    const { registry } = this.metrics;
    if (registry === undefined) return;
    const { collectDefaultMetrics } = await import('prom-client');
    collectDefaultMetrics({ register: registry });
  }
}

/** The metrics, for everybody: with `METRICS_PUBLIC`. */
@Controller()
export class PublicMetricsController {
  constructor(private readonly metrics: WsMetrics) {}

  @Get('metrics')
  @Header('Cache-Control', 'no-store')
  async read(
    @Headers('accept') accept: string | undefined,
    @Res({ passthrough: true }) response: Response,
  ): Promise<string> {
    const { contentType, body } = await this.metrics.text(accept);
    response.setHeader('Content-Type', contentType);
    return body;
  }
}

/** The metrics, for a token that has the scope `ws-gateway:metrics`. */
@Controller()
@UseGuards(BearerGuard)
@RequireScope('ws-gateway:metrics')
export class MetricsController extends PublicMetricsController {}

import { Controller, Get, Module } from '@nestjs/common';
import { HealthCheckService, TerminusModule } from '@nestjs/terminus';
import type { HealthCheckResult } from '@nestjs/terminus';
import { afterEach, describe, expect, it } from 'vitest';
import { WsHealth, WsHealthIndicator } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';

afterEach(stopApps);

describe('WsHealth', () => {
  it('is ready unless a check finds a reason; warnings keep nobody out', () => {
    const health = new WsHealth();
    expect(health.readiness()).toEqual({ ready: true, reasons: [], warnings: [] });
    let reason: string | undefined = 'no database';
    const stop = health.add(() => reason);
    health.addWarning(() => 'disk nearly full');
    expect(health.readiness()).toEqual({ ready: false, reasons: ['no database'], warnings: ['disk nearly full'] });
    reason = undefined;
    expect(health.readiness().ready).toBe(true);
    reason = 'again';
    stop();
    expect(health.readiness().ready).toBe(true);
  });

  it('takes a check that throws for a reason', () => {
    const health = new WsHealth();
    health.add(() => {
      throw new Error('password is hunter2');
    });
    expect(health.readiness()).toMatchObject({ ready: false, reasons: ['a check threw'] });
  });

  it('knows of the start and the shutdown of the application', async () => {
    let before: string[] = [];
    const { app } = await startApp({
      before: (starting) => (before = [...starting.get(WsHealth).readiness().reasons]),
    });
    const health = app.get(WsHealth);
    expect(before).toEqual(['starting']);
    expect(health.readiness()).toEqual({ ready: true, reasons: [], warnings: [] });
    await stopApps();
    expect(health.readiness().reasons).toEqual(['shutting down']);
  });
});

describe('WsHealthIndicator', () => {
  it('is taken by @nestjs/terminus', async () => {
    @Controller()
    class HealthController {
      constructor(
        private readonly health: HealthCheckService,
        private readonly gateway: WsHealthIndicator,
      ) {}

      @Get('health')
      check(): Promise<HealthCheckResult> {
        return this.health.check([() => this.gateway.isHealthy('websocket')]);
      }
    }
    @Module({ imports: [TerminusModule.forRoot({ logger: false })], controllers: [HealthController] })
    class HealthModule {}
    const { app, port } = await startApp({ imports: [HealthModule] });
    const ask = async (): Promise<[number, unknown]> => {
      const response = await fetch(`http://127.0.0.1:${port}/health`);
      const { status, details } = (await response.json()) as HealthCheckResult;
      return [response.status, { status, ...details.websocket }];
    };
    expect(await ask()).toEqual([200, { status: 'up' }]);
    const health = app.get(WsHealth);
    health.addWarning(() => 'slow disk');
    expect(await ask()).toEqual([200, { status: 'degraded', warnings: ['slow disk'] }]);
    health.add(() => 'no database');
    expect(await ask()).toEqual([503, { status: 'down', reasons: ['no database'], warnings: ['slow disk'] }]);
  });
});

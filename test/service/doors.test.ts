import { Controller, Get, Module } from '@nestjs/common';
import type { INestApplication } from '@nestjs/common';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { WsFirewall } from '../../src/firewall/firewall.js';
import type { AuditEntry } from '../../src/monitoring/audit/audit-event.js';
import { AuditSink } from '../../src/monitoring/audit/audit-sink.js';
import { readConfiguration } from '../../src/service/configuration.js';
import { PROBES } from '../../src/service/health.controller.js';
import { createApp } from '../../src/service/start.js';
import { MemorySink } from '../support/app.js';
import { refusal } from '../support/client.js';
import { SECRET, token } from '../support/tokens.js';

class ListSink extends AuditSink {
  readonly entries: AuditEntry[] = [];

  write(entry: AuditEntry): void {
    this.entries.push(entry);
  }
}

/** What a route has to ask for. */
interface Door {
  readonly method: string;
  readonly path: string;
  /** False for one that is declared as open to everybody. */
  readonly needsToken: boolean;
}

/** A service behind one proxy, so that a test chooses the address it comes from. */
interface House {
  readonly app: NestExpressApplication;
  readonly url: string;
  readonly log: MemorySink;
  readonly audit: ListSink;
}

const VIOLATIONS = 5;
const BURST = 20;
const DENIED = '198.51.100.7';

const running = new Set<INestApplication>();
afterAll(async () => {
  for (const app of running) await app.close();
});

@Controller('forgotten')
class ForgottenController {
  @Get()
  read(): string {
    return 'everything';
  }
}

@Module({ controllers: [ForgottenController] })
class ForgottenModule {}

async function open(environment: NodeJS.ProcessEnv = {}, imports: readonly unknown[] = []): Promise<House> {
  const [log, audit] = [new MemorySink(), new ListSink()];
  const given = { JWT_SECRET: SECRET, TRUST_PROXY: '1', AUTH_SOURCES: 'header,ticket,message', ...environment };
  const configuration = readConfiguration(given, false);
  const firewall = {
    ...configuration.gateway.firewall,
    deny: ['198.51.100.0/24'],
    handshakeBurstPerAddress: BURST,
    handshakesPerSecondPerAddress: 1,
    ban: { violations: VIOLATIONS },
    shutdown: undefined,
  };
  delete (firewall as { shutdown?: unknown }).shutdown;
  const gateway = { ...configuration.gateway, firewall, shutdown: { drainMs: 500 } };
  const app = await createApp({ ...configuration, gateway }, pino({ level: 'silent' }), log, audit, imports as never);
  await app.listen(0, '127.0.0.1');
  running.add(app);
  return { app, url: await app.getUrl(), log, audit };
}

import 'reflect-metadata';
import type { AddressInfo } from 'node:net';
import { Global, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FailureSink, WsGatewayModule } from '../../src/index.js';
import type { FailureRecord } from '../../src/index.js';
import {
  FAILING,
  InterceptedGateway,
  OrdersGateway,
  OtherPathGateway,
  PagesController,
  PublicGateway,
} from './gateways.js';
import { MAX_FRAGMENTS, MAX_JSON_DEPTH, MAX_MESSAGE_BYTES } from './input.js';
import { SECRET } from './tokens.js';

/** Whatever the server calls a fault of its own, and no handler meant to be one, is a finding. */
class FaultSink extends FailureSink {
  write(record: FailureRecord): void {
    if (record.level === 'error' && !FAILING.includes(record.event ?? '')) {
      process.stderr.write(`${JSON.stringify(record)}\n`);
    }
  }
}

@Global()
@Module({ providers: [{ provide: FailureSink, useClass: FaultSink }], exports: [FailureSink] })
class LogModule {}

@Module({
  imports: [
    LogModule,
    WsGatewayModule.forRoot({
      auth: { jwt: { secret: SECRET }, timeoutMs: 600_000 },
      compression: true,
      heartbeat: { intervalMs: 3_600_000, timeoutMs: 600_000 },
      // What stands between a hostile peer and the code under test is off, and what the model of the fuzzer knows is on.
      firewall: {
        exempt: ['127.0.0.1'],
        maxConnections: Infinity,
        maxConnectionsPerAddress: Infinity,
        handshakesPerSecondPerAddress: Infinity,
        handshakeBurstPerAddress: Infinity,
      },
      limits: {
        maxMessageBytes: MAX_MESSAGE_BYTES,
        maxFragments: MAX_FRAGMENTS,
        maxJsonDepth: MAX_JSON_DEPTH,
        maxBadFrames: 1_000_000,
        maxStreams: 100_000,
        messagesPerSecond: Infinity,
        messageBurst: Infinity,
        messagesPerSecondPerSubject: Infinity,
        bytesPerSecond: Infinity,
      },
    }),
  ],
  providers: [OrdersGateway, InterceptedGateway, PublicGateway, OtherPathGateway],
  controllers: [PagesController],
})
class TargetModule {}

const app = await NestFactory.create(TargetModule, { logger: false });
await app.listen(0, '127.0.0.1');
process.on('message', () => process.exit(0)); // 'stop'
process.on('disconnect', () => process.exit(0)); // nobody is left to say it
process.send?.({ port: (app.getHttpServer().address() as AddressInfo).port }); // because a listening server has one

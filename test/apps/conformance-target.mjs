// Echoes every message verbatim, text and binary, to whoever connects, at / and at /ws: a target for public WebSocket
// conformance suites. The adapter and the path of a frame are the package's own; the gateways are raw ones.
//
//   PORT=9001 npm run conformance-target      HOST: 127.0.0.1, COMPRESSION=1: with permessage-deflate
import 'reflect-metadata';
import { randomBytes } from 'node:crypto';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { WebSocketGateway } from '@nestjs/websockets';
import { RawGateway, WsGatewayModule } from '../../dist/index.js';

const { HOST: host = '127.0.0.1', PORT: port = '9001', COMPRESSION: compression } = process.env;

class EchoGateway {
  handleConnection(socket) {
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
  }
}
RawGateway()(EchoGateway);
WebSocketGateway({ path: '/ws' })(EchoGateway);

class RootEchoGateway extends EchoGateway {}
RawGateway()(RootEchoGateway);
WebSocketGateway({ path: '/' })(RootEchoGateway);

// A suite is one address with many connections and no manners; what it is to find are faults, not limits.
const gateway = WsGatewayModule.forRoot({
  auth: { jwt: { secret: randomBytes(32) }, anonymous: true },
  compression: compression === '1',
  firewall: {
    maxConnections: Infinity,
    maxConnectionsPerAddress: Infinity,
    handshakesPerSecondPerAddress: Infinity,
    handshakeBurstPerAddress: Infinity,
    ban: { violations: Infinity },
  },
  limits: {
    maxMessageBytes: 16 * 1_048_576,
    maxFragments: 131_072,
    maxOutboundBytes: 256 * 1_048_576,
    messagesPerSecond: Infinity,
    messageBurst: Infinity,
    messagesPerSecondPerSubject: Infinity,
    bytesPerSecond: Infinity,
  },
});

class TargetModule {}
Module({ imports: [gateway], providers: [EchoGateway, RootEchoGateway] })(TargetModule);

const app = await NestFactory.create(TargetModule, { logger: ['error', 'warn'] });
app.enableShutdownHooks();
await app.listen(Number(port), host);
console.log(`Echoes at ws://${host}:${app.getHttpServer().address().port}/`);

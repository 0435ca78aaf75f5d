// One server, named by the first argument, on a free port of loopback; told by and telling its parent over IPC.
import 'reflect-metadata';
import { createServer } from 'node:http';
import { UseGuards, UseInterceptors, Catch, HttpException, Module, ValidationPipe } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { JwtService } from '@nestjs/jwt';
import { WsAdapter } from '@nestjs/platform-ws';
import {
  BaseWsExceptionFilter,
  MessageBody,
  SubscribeMessage,
  WebSocketGateway,
  WsException,
} from '@nestjs/websockets';
import { IsEmail, IsString, MaxLength } from 'class-validator';
import { WebSocketServer } from 'ws';
import { jsonRpc, SubscribeBinary, UseProtocol, WsGatewayModule, WsSession } from '../../dist/index.js';

const secret = 'a-secret-for-benchmarks-of-at-least-32-bytes';
const jwt = new JwtService({});
const [name, growth = '1'] = process.argv.slice(2);
const count = Number(growth);

/** What a decorated class compiles to, for plain JavaScript. */
function decorate(target, method, types, ...decorators) {
  Reflect.defineMetadata('design:paramtypes', types, target, method);
  for (const decorator of decorators) decorator(target, method, Object.getOwnPropertyDescriptor(target, method));
}

class EchoDto {}
IsEmail()(EchoDto.prototype, 'email');
IsString()(EchoDto.prototype, 'text');
MaxLength(16_384)(EchoDto.prototype, 'text');

/** A DTO with as many properties as asked for. */
class WideDto {}
for (let i = 0; i < count; i++) {
  IsString()(WideDto.prototype, `p${i}`);
  MaxLength(100)(WideDto.prototype, `p${i}`);
}

/** A gateway with one `echo` handler, and more of them under other names. */
function echoGateway(dto, handlers, parameter = MessageBody(), reply = (data) => data) {
  class EchoGateway {
    echo(data) {
      return reply(data);
    }
  }
  parameter(EchoGateway.prototype, 'echo', 0);
  decorate(EchoGateway.prototype, 'echo', [dto], SubscribeMessage('echo'));
  for (let i = 1; i < handlers; i++) {
    EchoGateway.prototype[`echo${i}`] = (data) => data;
    MessageBody()(EchoGateway.prototype, `echo${i}`, 0);
    decorate(EchoGateway.prototype, `echo${i}`, [dto], SubscribeMessage(`echo${i}`));
  }
  return EchoGateway;
}

async function nest(gateway, imports, adapter) {
  class AppModule {}
  Module({ imports, providers: [gateway] })(AppModule);
  const app = await NestFactory.create(AppModule, { logger: ['error', 'warn'] });
  if (adapter) app.useWebSocketAdapter(adapter(app));
  await app.listen(0, '127.0.0.1');
  return app.getHttpServer();
}

/** Takes binary messages as well. */
function binaryEchoGateway() {
  const Gateway = echoGateway(EchoDto, 1);
  Gateway.prototype.binary = (bytes) => bytes;
  MessageBody()(Gateway.prototype, 'binary', 0);
  decorate(Gateway.prototype, 'binary', [Buffer], SubscribeBinary());
  return Gateway;
}

/** Each session is in ten rooms, one of which is a channel with history. No pushes come: each would count as an answer. */
function memberGateway() {
  const Gateway = echoGateway(EchoDto, 1);
  let sessions = 0;
  Gateway.prototype.handleConnection = (socket) => {
    const session = WsSession.of(socket);
    session.join('room.all');
    for (let n = 0; n < 9; n++) session.join(`page ${(sessions * 7 + n * 97) % 100}`);
    sessions++;
  };
  return Gateway;
}

const CHANNELS = {
  rules: [{ pattern: 'room.*', subscribe: true, presence: 'query', history: { count: 100, ageMs: 60_000 } }],
};

async function secured({ guard = false, interceptor = false, protocol, channels, ...gateway }) {
  const { dto = EchoDto, handlers = 1, Gateway = echoGateway(dto, handlers) } = gateway;
  if (protocol) UseProtocol(protocol)(Gateway);
  if (guard) UseGuards({ canActivate: () => true })(Gateway);
  if (interceptor) UseInterceptors({ intercept: (_, next) => next.handle() })(Gateway);
  WebSocketGateway()(Gateway);
  // Every client is one address and one subject: budgets so large that nobody meets them, and that are charged all the same.
  const most = 10_000_000;
  return nest(Gateway, [
    WsGatewayModule.forRoot({
      auth: { jwt: { secret }, maxSessionsPerSubject: Infinity },
      ...(channels && { channels }),
      firewall: { maxConnectionsPerAddress: most, handshakesPerSecondPerAddress: most, handshakeBurstPerAddress: most },
      limits: {
        maxConcurrentMessages: 64,
        messagesPerSecond: most,
        messageBurst: most,
        messagesPerSecondPerSubject: most,
        bytesPerSecond: 68_719_476_736,
      },
    }),
  ]);
}

/** The id has to come back, so handlers of stock Nest see the whole message as their data. */
const wholeMessage = (app) =>
  new WsAdapter(app, {
    messageParser: (bytes) => {
      const message = JSON.parse(bytes.toString());
      return { event: message.event, data: message };
    },
  });

/** @param answer what goes back for the bytes of a message */
function bare(answer) {
  const server = createServer();
  new WebSocketServer({ server }).on('connection', (socket) => {
    socket.on('message', (bytes) => socket.send(answer(bytes)));
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

const SERVERS = {
  'bare ws': () =>
    bare((bytes) => {
      const { event, data, id } = JSON.parse(bytes.toString());
      return JSON.stringify({ event, data, id });
    }),
  'bare ws, binary': () => bare((bytes) => bytes),
  'nestjs-ws-gateway': () => secured({}),
  'nestjs-ws-gateway, JSON-RPC': () => secured({ protocol: jsonRpc() }),
  'nestjs-ws-gateway, binary': () => secured({ Gateway: binaryEchoGateway() }),
  'nestjs-ws-gateway, rooms and channels': () => secured({ Gateway: memberGateway(), channels: CHANNELS }),
  'nestjs-ws-gateway + a guard': () => secured({ guard: true }),
  'nestjs-ws-gateway + a guard and an interceptor': () => secured({ guard: true, interceptor: true }),
  'stock Nest, no checks': () => {
    const Gateway = echoGateway(Object, 1, MessageBody(), ({ id, data }) => ({ event: 'echo', id, data }));
    WebSocketGateway({ path: '/ws' })(Gateway);
    return nest(Gateway, [], wholeMessage);
  },
  'Nest as teams write it': () => {
    class Gateway {
      handleConnection(client, request) {
        try {
          client.user = jwt.verify(request.headers.authorization.slice(7), { secret, algorithms: ['HS256'] });
        } catch {
          client.close(1008);
        }
      }
      echo(data, id) {
        return { event: 'echo', id, data };
      }
    }
    class Filter extends BaseWsExceptionFilter {
      catch(error, host) {
        super.catch(error instanceof HttpException ? new WsException(error.getResponse()) : error, host);
      }
    }
    Catch()(Filter);
    MessageBody('data', new ValidationPipe({ whitelist: true, transform: true }))(Gateway.prototype, 'echo', 0);
    MessageBody('id')(Gateway.prototype, 'echo', 1);
    decorate(Gateway.prototype, 'echo', [EchoDto, Object], SubscribeMessage('echo'));
    UseGuards({ canActivate: (context) => context.switchToWs().getClient().user !== undefined })(Gateway);
    Reflect.defineMetadata('__exceptionFilters__', [new Filter()], Gateway);
    WebSocketGateway({ path: '/ws' })(Gateway);
    return nest(Gateway, [], wholeMessage);
  },
  'Socket.IO with Nest': async () => {
    const { IoAdapter } = await import('@nestjs/platform-socket.io');
    const pipe = new ValidationPipe({ whitelist: true, transform: true });
    const Gateway = echoGateway(EchoDto, 1, MessageBody(pipe));
    WebSocketGateway({ transports: ['websocket'] })(Gateway);
    return nest(Gateway, [], (app) => new IoAdapter(app));
  },
  handlers: () => secured({ handlers: count }),
  properties: () => secured({ dto: WideDto }),
};

const server = await SERVERS[name]();
const token = jwt.sign({ sub: 'bench' }, { secret, expiresIn: 3_600 });
process.on('message', () => process.send({ cpu: process.cpuUsage() }));
process.on('disconnect', () => process.exit(0));
process.send({ port: server.address().port, token });

import 'reflect-metadata';
import { readFileSync } from 'node:fs';
import { Injectable, Module } from '@nestjs/common';
import type { INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ConnectedSocket, MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { IsNumber } from 'class-validator';
import { Roles, WsGatewayModule, WsGatewayReload, WsSession } from 'nestjs-ws-gateway';
import type { WsGatewayOptions } from 'nestjs-ws-gateway';

class ReadingDto {
  @IsNumber() watts!: number;
}

@WebSocketGateway()
class MetersGateway {
  @Roles('meters')
  @SubscribeMessage('reading')
  reading(@MessageBody() { watts }: ReadingDto, @ConnectedSocket() socket: object) {
    return { meter: WsSession.of(socket).principal?.subject, watts };
  }
}

const options = (secrets: Record<string, string>): WsGatewayOptions => ({
  auth: {
    sources: ['certificate', 'header'],
    jwt: { secrets },
    claims: { roles: ['roles', 'certificate.OU'] }, // the organisational units of a certificate are roles here
  },
});

/** Called when the vault has a new key: no client is disconnected. */
@Injectable()
export class KeyRotation {
  constructor(private readonly reload: WsGatewayReload) {}

  async use(secrets: Record<string, string>): Promise<readonly string[]> {
    const { changed } = await this.reload.replace(options(secrets)); // throws and changes nothing when they are not valid
    return changed; // ['auth.jwt']
  }
}

export async function start(folder: string, secrets: Record<string, string>): Promise<INestApplication> {
  const file = (name: string): Buffer => readFileSync(`${folder}/${name}`);

  @Module({
    imports: [WsGatewayModule.forRoot(options(secrets))],
    providers: [MetersGateway, KeyRotation],
  })
  class AppModule {}

  return NestFactory.create(AppModule, {
    logger: ['error'],
    httpsOptions: {
      cert: file('server.pem'),
      key: file('server.key'),
      ca: file('ca.pem'), // whose clients' certificates are good
      requestCert: true,
      rejectUnauthorized: false, // the module says what is wrong with one, and clients without one may have a token
    },
  });
}

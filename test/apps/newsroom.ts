import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { IsString } from 'class-validator';
import { CurrentPrincipal, PathParam, Public, SubscribeBinary } from 'nestjs-ws-gateway';
import type { Principal, WsGatewayOptions } from 'nestjs-ws-gateway';

class LineDto {
  @IsString() text!: string;
}

@WebSocketGateway()
export class DeskGateway {
  @SubscribeMessage('line') line(@MessageBody() { text }: LineDto): string {
    return text;
  }
}

@WebSocketGateway({ path: '/audio/:room' })
export class AudioGateway {
  @SubscribeBinary() store(@MessageBody() sound: Buffer, @PathParam('room') room: string): string {
    return `${room}: ${sound.length} bytes`;
  }
}

@WebSocketGateway({ path: '/ticker' })
export class TickerGateway {
  @Public() @SubscribeMessage('latest') latest(): string {
    return 'Nothing has happened';
  }
}

@WebSocketGateway({ path: '/cameras' })
export class CamerasGateway {
  @SubscribeMessage('whoami') whoami(@CurrentPrincipal() { subject }: Principal): string {
    return subject;
  }
}

export const options = (secret: string): WsGatewayOptions => ({
  auth: { jwt: { secret } },
  limits: { maxMessageBytes: 16_384 },
  paths: {
    '/audio/:room': {
      limits: { maxMessageBytes: 1_048_576, bytesPerSecond: 8_388_608, maxOutboundBytes: 4_194_304 },
      heartbeat: { intervalMs: 5_000, timeoutMs: 2_000 },
    },
    '/ticker': {
      auth: { anonymous: true },
      limits: { maxMessageBytes: 512, messagesPerSecond: 2, messageBurst: 5 },
      firewall: { origins: ['*'] }, // any site may show it
    },
    '/cameras': {
      auth: { sources: ['query'], reject: 'handshake' }, // devices that can send no header
      firewall: { allowMissingOrigin: true, origins: [] }, // and no page
    },
  },
});

import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import type { PipeTransform } from '@nestjs/common';
import type { WsResponse } from '@nestjs/websockets';
import { PayloadDto } from '../gateway/dto/payload.dto.js';

/** Says that any payload is meant, so that the start does not warn of one that nothing checks. */
const anything: PipeTransform = { transform: (value: unknown) => value };

/** What the standalone service answers, beside `email`. */
@WebSocketGateway()
export class ServiceGateway {
  @SubscribeMessage('message')
  message(@MessageBody() { text }: PayloadDto): { text: string } {
    return { text: `Server received: ${text}` };
  }

  /** Named, so that data which looks like a WsResponse is still data. */
  @SubscribeMessage('echo')
  echo(@MessageBody(anything) data: unknown): WsResponse {
    return { event: 'echo', data: data ?? null };
  }
}

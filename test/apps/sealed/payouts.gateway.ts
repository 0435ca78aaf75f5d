import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { IsIBAN, IsInt, IsPositive } from 'class-validator';
import { CurrentSession, Sealed, WsSeal, WsSession } from 'nestjs-ws-gateway';

class PayoutDto {
  @IsInt() @IsPositive() amount!: number;
  @Sealed() @IsIBAN() iban!: string; // opened first, for this event and the session's subject
}

@WebSocketGateway()
export class PayoutsGateway {
  constructor(private readonly seal: WsSeal) {}

  @SubscribeMessage('payout.request')
  async request(@MessageBody() { amount, iban }: PayoutDto, @CurrentSession() session: WsSession) {
    // No handler has this event: what the server has sealed cannot be sent back to it.
    const binding = { event: 'payout.receipt', subject: session.principal?.subject };
    return { amount, receipt: await this.seal.seal({ amount, iban }, binding) };
  }
}

import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { IsInt, IsPositive, IsString } from 'class-validator';
import { CurrentSession, GatewayError, Public, Roles, WsSession } from 'nestjs-ws-gateway';

class OrderDto {
  @IsString() article!: string;
  @IsInt() @IsPositive() amount!: number;
}

@WebSocketGateway() // nothing else: guard, pipe and filter are already there
export class OrdersGateway {
  @Roles('buyer')
  @SubscribeMessage('order.place')
  place(@MessageBody() order: OrderDto, @CurrentSession() session: WsSession) {
    if (order.article === 'sold-out') throw new GatewayError('ORDER_CLOSED', { message: 'Nothing left of it' });
    return { placedBy: session.principal?.subject, amount: order.amount };
  }

  @Public()
  @SubscribeMessage('articles')
  articles() {
    return ['tea', 'coffee'];
  }
}

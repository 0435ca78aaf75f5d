import { Controller, Headers, Injectable, Module, Post } from '@nestjs/common';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { IsInt } from 'class-validator';
import {
  Authentication,
  Authorize,
  CurrentPrincipal,
  Public,
  WsGatewayModule,
  WsSessions,
  WsTickets,
} from 'nestjs-ws-gateway';
import type { AuthorizationRule, Principal, Ticket, WsSession } from 'nestjs-ws-gateway';

class OrderDto {
  @IsInt() order!: number;
}

@Injectable()
export class Orders {
  readonly owners = new Map([
    [1, 'ada'],
    [2, 'eve'],
  ]);
}

@Injectable()
class OwnsOrder implements AuthorizationRule {
  constructor(private readonly orders: Orders) {}

  authorize({ principal }: WsSession, { order }: OrderDto): boolean {
    return this.orders.owners.get(order) === principal?.subject;
  }
}

@WebSocketGateway()
class OrdersGateway {
  @Authorize(OwnsOrder)
  @SubscribeMessage('order.show')
  show(@MessageBody() { order }: OrderDto, @CurrentPrincipal() principal: Principal) {
    return { order, owner: principal.subject };
  }

  @Public()
  @SubscribeMessage('opening-hours')
  hours() {
    return '9 to 5';
  }
}

@Controller('account')
class AccountController {
  constructor(
    private readonly authentication: Authentication,
    private readonly tickets: WsTickets,
    private readonly sessions: WsSessions,
  ) {}

  /** A page asks for a ticket with its token in a header, and connects to `/ws?ticket=…` with it. */
  @Post('ticket')
  async ticket(@Headers('authorization') bearer = '', @Headers('origin') origin?: string): Promise<Ticket> {
    const principal = await this.authentication.authenticate(bearer.replace(/^Bearer /i, ''));
    return this.tickets.issue(principal, origin === undefined ? {} : { origin });
  }

  /** A change of password ends every session that was opened with the old one. */
  @Post('password')
  async changePassword(@Headers('authorization') bearer = ''): Promise<{ ended: number }> {
    const { subject } = await this.authentication.authenticate(bearer.replace(/^Bearer /i, ''));
    const { ended } = await this.sessions.revoke({ subject });
    return { ended };
  }
}

@Module({
  imports: [
    WsGatewayModule.forRoot({
      auth: {
        jwt: {
          // A rotation: sign with the new one, take the old one out when its last token has expired.
          secrets: {
            '2026-07': process.env.JWT_SECRET_OLD ?? 'the-old-secret-of-32-bytes-or-more',
            '2026-11': process.env.JWT_SECRET ?? 'the-new-secret-of-32-bytes-or-more',
          },
          audience: 'shop',
        },
        sources: ['header', 'ticket'],
        claims: { roles: ['roles', 'realm_access.roles'] },
        maxSessionsPerSubject: 5,
      },
      firewall: { origins: ['https://shop.example.com'] },
    }),
  ],
  controllers: [AccountController],
  providers: [Orders, OrdersGateway],
})
export class AccountModule {}

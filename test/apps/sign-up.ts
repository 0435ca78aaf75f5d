import { Module } from '@nestjs/common';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import {
  CurrentSession,
  EmailDto,
  IsDeliverableEmail,
  Public,
  WsEmail,
  WsGatewayModule,
  WsSession,
} from 'nestjs-ws-gateway';

class SignUpDto {
  @IsDeliverableEmail() email!: string; // refuses what is undeliverable; what is unknown passes
}

@WebSocketGateway()
export class SignUpGateway {
  constructor(private readonly emails: WsEmail) {}

  @Public()
  @SubscribeMessage('sign-up')
  signUp(@MessageBody() { email }: SignUpDto) {
    return { mailTo: email }; // `Ada@BÜCHER.example` has become `Ada@xn--bcher-kva.example`
  }

  @Public()
  @SubscribeMessage('email.check')
  check(@MessageBody() { email }: EmailDto, @CurrentSession() session: WsSession) {
    return this.emails.check(email, session); // { verdict: 'undeliverable', reason: 'null-mx' }
  }
}

@Module({
  imports: [
    WsGatewayModule.forRoot({
      auth: { jwt: { secret: process.env.JWT_SECRET ?? 'change-me-to-32-bytes-or-more-of-randomness' } },
      email: { servers: process.env.EMAIL_DNS_SERVERS?.split(','), disposableDomains: ['trash.example'] },
    }),
  ],
  providers: [SignUpGateway],
})
export class AppModule {}

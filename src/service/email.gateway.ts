import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import type { WsSession } from '../session/ws-session.js';
import { IsDeliverableEmail } from '../email/is-deliverable-email.js';
import { WsEmail } from '../email/ws-email.js';
import type { EmailVerdict } from '../email/verdict.js';
import { CurrentSession } from '../gateway/decorators.js';
import { EmailDto } from '../gateway/dto/email.dto.js';

/** Answer to `email`. */
interface EmailReply {
  readonly email: string;
  readonly valid: true;
}

@WebSocketGateway()
export class EmailGateway {
  @SubscribeMessage('email')
  email(@MessageBody() { email }: EmailDto): EmailReply {
    return { email, valid: true };
  }
}

class DeliverableEmailDto {
  @IsDeliverableEmail()
  email!: string;
}

/** With `EMAIL_CHECK_MX`: what is undeliverable is refused, and the answer says what is known of the rest. */
@WebSocketGateway()
export class CheckingEmailGateway {
  constructor(private readonly emails: WsEmail) {}

  @SubscribeMessage('email')
  async email(
    @MessageBody() { email }: DeliverableEmailDto,
    @CurrentSession() session: WsSession,
  ): Promise<EmailReply & EmailVerdict> {
    // The rule has just looked the address up, so this answer comes from the cache.
    return { email, valid: true, ...(await this.emails.check(email, session)) };
  }
}

import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { Type } from 'class-transformer';
import { IsInt, IsString, Length, ValidateNested } from 'class-validator';
import { afterEach, describe, expect, it } from 'vitest';
import { GatewayError, Public, Sensitive } from '../../src/index.js';
import { isSensitive } from '../../src/data-protection/sensitive.js';
import { startApp, stopApps } from '../support/app.js';
import { Client } from '../support/client.js';
import { token } from '../support/tokens.js';

afterEach(stopApps);

class CardDto {
  @IsString() holder!: string;
  @Sensitive() @Length(16, 16, { message: 'card $value is not 16 long' }) number!: string;
  @Sensitive() @IsInt() cvc!: number;
}

class GoldCardDto extends CardDto {
  @IsString() tier!: string;
}

class PaymentDto {
  @ValidateNested() @Type(() => GoldCardDto) card!: GoldCardDto;
  @IsInt() amount!: number;
}

class SecretDto {
  @Sensitive() @ValidateNested() @Type(() => GoldCardDto) card!: GoldCardDto;
  @Sensitive() @ValidateNested({ each: true }) @Type(() => GoldCardDto) spares!: GoldCardDto[];
}

@WebSocketGateway()
class SecretCardGateway {
  @SubscribeMessage('keep')
  keep(@MessageBody() { card }: SecretDto): string {
    return card.holder;
  }
}

@WebSocketGateway()
class PaymentGateway {
  @Public()
  @SubscribeMessage('pay')
  pay(@MessageBody() payment: PaymentDto): void {
    throw new GatewayError('PAYMENT_REFUSED', { details: { payment, cards: [payment.card] } });
  }
}

describe('@Sensitive()', () => {
  it('keeps properties out of the details of a refused payload, but for the fact', async () => {
    const { url } = await startApp({ gateways: [PaymentGateway] });
    const client = await Client.connect(`${url}/ws`, { token: token() });
    const card = { holder: 7, number: '4111-secret', cvc: 'abc', tier: 'x' };
    const { data } = await client.ask({ event: 'pay', data: { card, amount: 'much' }, id: 1 });
    const { details } = data as { details: object[] };
    expect(details).toEqual([
      expect.objectContaining({ path: 'card.holder', rule: 'isString' }),
      { path: 'card', rule: 'sensitive', message: 'a sensitive property is not valid' },
      expect.objectContaining({ path: 'amount', rule: 'isInt' }),
    ]);
    for (const word of ['card.number', 'cvc', 'secret', 'isLength']) expect(JSON.stringify(data)).not.toContain(word);
  });

  it('keeps the name of a property to itself when an array comes in its place', async () => {
    const { url } = await startApp({ gateways: [SecretCardGateway] });
    const client = await Client.connect(`${url}/ws`, { token: token() });
    const card = { holder: 'Ada', number: '4111111111111111', cvc: 123, tier: 'gold' };
    for (const wrong of [[card], { ...card, toString: 1 }, { ...card, holder: 7 }]) {
      const { data } = await client.ask({ event: 'keep', data: { card: wrong, spares: [] }, id: 1 });
      expect((data as { details: object }).details).toEqual([
        { path: '', rule: 'sensitive', message: 'a sensitive property is not valid' },
      ]);
    }
    const { data } = await client.ask({ event: 'keep', data: { card, spares: { 0: card } }, id: 2 });
    expect((data as { details: object }).details).toEqual([expect.objectContaining({ path: '', rule: 'sensitive' })]);
  });

  it('keeps properties out of the details of an error of the application', async () => {
    const { url } = await startApp({ gateways: [PaymentGateway] });
    const client = await Client.connect(`${url}/ws`, { token: token() });
    const card = { holder: 'Ada', number: '4111111111111111', cvc: 123, tier: 'gold' };
    const { data } = await client.ask({ event: 'pay', data: { card, amount: 1 }, id: 1 });
    const rest = { holder: 'Ada', tier: 'gold' };
    expect(data).toMatchObject({ code: 'PAYMENT_REFUSED' });
    expect((data as { details: object }).details).toEqual({ payment: { card: rest, amount: 1 }, cards: [rest] });
  });

  it('holds for the class and those that extend it', () => {
    expect(isSensitive(new GoldCardDto(), 'number')).toBe(true);
    expect(isSensitive(new GoldCardDto(), 'tier')).toBe(false);
    expect(isSensitive({}, 'number')).toBe(false);
    expect(() => Sensitive()({}, Symbol('s'))).toThrow(TypeError);
  });
});

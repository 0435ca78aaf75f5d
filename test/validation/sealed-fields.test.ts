import { randomBytes } from 'node:crypto';
import { ValidationPipe } from '@nestjs/common';
import { APP_PIPE } from '@nestjs/core';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { Expose, plainToInstance, Transform, Type } from 'class-transformer';
import { IsInt, IsNumber, IsOptional, IsString, MaxLength, MinLength, validate, ValidateNested } from 'class-validator';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { dtoValidator, Fingerprints, Public, Sealed, WsSeal, WsValidationPipe } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client } from '../support/client.js';
import { token } from '../support/tokens.js';

class CardDto {
  @Sealed() @IsString() @MinLength(4) pan!: string;
  @IsInt() year!: number;
}

class PayoutDto {
  @IsInt() amount!: number;
  @Sealed()
  @IsString()
  @MaxLength(34)
  @Transform(({ value }: { value: unknown }) => (typeof value === 'string' ? value.replaceAll(' ', '') : value))
  iban!: string;
  @IsOptional() @Sealed() @IsNumber() limit?: number;
  @IsOptional() @ValidateNested() @Type(() => CardDto) card?: CardDto;
  @IsOptional() @ValidateNested({ each: true }) @Type(() => CardDto) cards?: CardDto[];
  @IsOptional() @Sealed() @ValidateNested() @Type(() => CardDto) hidden?: CardDto;
  @IsOptional() @Sealed() @IsString() @Expose({ name: 'memo_text' }) memo?: string;
}

class InheritingDto extends PayoutDto {
  @IsOptional() @IsString() note?: string;
}

abstract class PaymentDto {
  @IsString() kind!: string;
}

class ByCardDto extends PaymentDto {
  @Sealed() @IsString() pan!: string;
}

class ByTransferDto extends PaymentDto {
  @IsString() bank!: string;
}

const subTypes = [
  { name: 'card', value: ByCardDto },
  { name: 'transfer', value: ByTransferDto },
];

class CheckoutDto {
  @ValidateNested()
  @Type(() => PaymentDto, { discriminator: { property: 'kind', subTypes }, keepDiscriminatorProperty: true })
  payment!: ByCardDto | ByTransferDto;
}

class TreeDto {
  @IsOptional() @Sealed() @ValidateNested() @Type(() => TreeDto) child?: TreeDto;
}

/** The class goes by the payload, so nobody can tell beforehand that something in it is sealed. */
class DynamicDto {
  @IsString() kind!: string;
  @ValidateNested()
  @Type((options) => (options?.object.kind === 'card' ? ByCardDto : ByTransferDto))
  payment!: ByCardDto | ByTransferDto;
}

class AnythingDto {
  @Sealed() value!: unknown;
}

const seen: unknown[] = [];

function see(value: unknown): string {
  seen.push(value);
  return 'done';
}

@WebSocketGateway()
class PayoutGateway {
  @SubscribeMessage('payout') payout(@MessageBody() body: PayoutDto): string {
    return see(body);
  }

  @SubscribeMessage('refund') refund(@MessageBody() body: InheritingDto): string {
    return see(body);
  }

  @SubscribeMessage('part') part(@MessageBody('card') body: CardDto): string {
    return see(body);
  }

  @SubscribeMessage('checkout') checkout(@MessageBody() body: CheckoutDto): string {
    return see(body);
  }

  @SubscribeMessage('tree') tree(@MessageBody() body: TreeDto): string {
    return see(body);
  }

  @SubscribeMessage('dynamic') dynamic(@MessageBody() body: DynamicDto): string {
    return see(body);
  }

  @Public() @SubscribeMessage('anything') anything(@MessageBody() body: AnythingDto): string {
    return see(body.value);
  }

  @SubscribeMessage('twice') twice(@MessageBody(new WsValidationPipe()) body: PayoutDto): string {
    return see(body);
  }
}

const sealing = { keys: `a:${randomBytes(32).toString('base64url')}` };
const refused = (...paths: string[]): object => ({
  data: {
    code: 'VALIDATION_FAILED',
    message: 'The payload is not valid',
    details: paths.map((path) => ({ path, rule: 'sealed', message: 'could not be opened' })),
  },
});

let running: TestApp;
let seal: WsSeal;
let client: Client;

async function start(setup: Parameters<typeof startApp>[0] = {}): Promise<void> {
  running = await startApp({ gateways: [PayoutGateway], options: { sealing }, ...setup });
  seal = running.app.get(WsSeal);
  client = await Client.connect(`${running.url}/ws`, { token: token() });
}

/** A value that opens in this event of Ada's. */
const sealed = (value: unknown, event = 'payout', subject: string | undefined = 'ada'): Promise<string> =>
  seal.seal(value, { event, subject });

beforeEach(() => {
  seen.length = 0;
});
afterEach(stopApps);

describe('a sealed field', () => {
  beforeEach(() => start());

  it('is opened before the other rules of its property are asked', async () => {
    const data = { amount: 1, iban: await sealed('DE02 1203 0000 0000 2020 51'), limit: await sealed(5.5) };
    expect(await client.ask({ event: 'payout', data, id: 1 })).toEqual({ event: 'payout', data: 'done', id: 1 });
    expect(seen).toEqual([expect.any(PayoutDto)]);
    expect(seen[0]).toMatchObject({ amount: 1, iban: 'DE02120300000000202051', limit: 5.5 });

    const long = { amount: 1, iban: await sealed('x'.repeat(35)), limit: await sealed('text') };
    const { data: error } = await client.ask({ event: 'payout', data: long, id: 2 });
    expect(error).toMatchObject({
      code: 'VALIDATION_FAILED',
      details: [
        { path: 'iban', rule: 'maxLength' },
        { path: 'limit', rule: 'isNumber' },
      ],
    });
  });

  it('does not open for another event or subject, and nothing more is said', async () => {
    const strange = [
      await sealed('x', 'refund'),
      await sealed('x', 'payout', 'eve'),
      await seal.seal('x', { event: 'payout' }),
    ];
    for (const iban of [...strange, 'DE02120300000000202051', 5, {}, [], '', true]) {
      expect(await client.ask({ event: 'payout', data: { amount: 'bad', iban, unknown: 1 }, id: 1 })).toMatchObject(
        refused('iban'),
      );
    }
    expect(seen).toEqual([]);
    // The log knows why, and has no part of the value.
    expect(running.log.lines.map(({ reason }) => reason).slice(0, 4)).toEqual([
      'a sealed field was sealed for another event',
      'a sealed field was sealed for another subject',
      'a sealed field was sealed for another subject',
      'a sealed field is no compact JWE',
    ]);
    expect(JSON.stringify(running.log.lines)).not.toMatch(/DE02|eyJ/);
  });

  it('may be left out, or be null, where it is optional, and only there', async () => {
    const iban = await sealed('x');
    for (const limit of [undefined, null, await sealed(null)]) {
      expect(await client.ask({ event: 'payout', data: { amount: 1, iban, limit }, id: 1 })).toMatchObject({
        data: 'done',
      });
    }
    for (const data of [{ amount: 1 }, { amount: 1, iban: null }]) {
      const { data: error } = await client.ask({ event: 'refund', data, id: 2 });
      const { details } = error as { details: unknown };
      expect(details).toContainEqual({ path: 'iban', rule: 'sealed', message: 'could not be opened' });
    }
    for (const data of [undefined, {}, { value: null }]) {
      expect(await client.ask({ event: 'anything', data, id: 3 })).toMatchObject(refused('value'));
    }
  });

  it('stands in nested classes, in arrays of them, and in what was sealed itself', async () => {
    const card = async (pan: string) => ({ pan: await sealed(pan), year: 2030 });
    const data = {
      amount: 1,
      iban: await sealed('x'),
      card: await card('1111'),
      cards: [await card('2222'), await card('3333')],
      hidden: await sealed(await card('4444')),
      memo_text: await sealed('hello'),
    };
    expect(await client.ask({ event: 'payout', data, id: 1 })).toMatchObject({ data: 'done' });
    expect(seen[0]).toMatchObject({
      card: { pan: '1111' },
      cards: [{ pan: '2222' }, { pan: '3333' }],
      hidden: { pan: '4444', year: 2030 },
      memo: 'hello',
    });
    const { hidden } = seen[0] as PayoutDto;
    expect(hidden).toBeInstanceOf(CardDto);

    const plain = { pan: '5555', year: 2030 };
    const bad = {
      ...data,
      card: plain,
      cards: [plain, await card('2222')],
      hidden: await sealed(plain),
      memo_text: 'x',
    };
    expect(await client.ask({ event: 'payout', data: bad, id: 2 })).toMatchObject(
      refused('card.pan', 'cards.0.pan', 'hidden.pan', 'memo'),
    );
    const short = { ...data, cards: [await card('222')] };
    expect((await client.ask({ event: 'payout', data: short, id: 3 })).data).toMatchObject({
      details: [{ path: 'cards.0.pan', rule: 'minLength' }],
    });
  });

  it('meets the same refusals as a payload that came in the open', async () => {
    const iban = await sealed('x');
    const [array, extra, method] = await Promise.all([
      sealed([{ pan: await sealed('1111'), year: 1 }]),
      sealed({ pan: await sealed('1111'), year: 1, more: true }),
      sealed({ pan: await sealed('1111'), year: 1, toString: 1 }),
    ]);
    const ask = async (hidden: string) =>
      (await client.ask({ event: 'payout', data: { amount: 1, iban, hidden }, id: 1 })).data;
    expect(await ask(array)).toMatchObject({ details: [{ path: 'hidden', rule: 'isObject' }] });
    expect(await ask(extra)).toMatchObject({ details: [{ path: 'hidden', rule: 'unknownProperty' }] });
    expect(await ask(method)).toMatchObject({ details: [{ path: 'hidden', rule: 'unknownProperty' }] });
  });

  it('is inherited', async () => {
    const data = { amount: 1, iban: await sealed('x', 'refund'), note: 'n' };
    expect(await client.ask({ event: 'refund', data, id: 1 })).toMatchObject({ data: 'done' });
    expect(seen[0]).toMatchObject({ iban: 'x', note: 'n' });
    expect(await client.ask({ event: 'refund', data: { ...data, iban: 'x' }, id: 1 })).toMatchObject(refused('iban'));
  });

  it('stands in a part of the payload', async () => {
    const card = { pan: await sealed('1111', 'part'), year: 1 };
    expect(await client.ask({ event: 'part', data: { card }, id: 1 })).toMatchObject({ data: 'done' });
    expect(seen[0]).toEqual(Object.assign(new CardDto(), { pan: '1111', year: 1 }));
    expect(await client.ask({ event: 'part', data: { card: { ...card, pan: '1111' } }, id: 2 })).toMatchObject(
      refused('card.pan'),
    );
  });

  it('stands in the class that a discriminator chooses', async () => {
    const pan = await sealed('1111', 'checkout');
    for (const payment of [
      { kind: 'card', pan },
      { kind: 'transfer', bank: 'b' },
    ]) {
      expect(await client.ask({ event: 'checkout', data: { payment }, id: 1 })).toMatchObject({ data: 'done' });
    }
    expect(seen).toMatchObject([{ payment: { pan: '1111' } }, { payment: { bank: 'b' } }]);
    expect(await client.ask({ event: 'checkout', data: { payment: { kind: 'card', pan: 'x' } }, id: 2 })).toMatchObject(
      refused('payment.pan'),
    );
  });

  it('may hold its own class, however deep', async () => {
    let tree: object = {};
    for (let depth = 0; depth < 3; depth++) tree = { child: await sealed(tree, 'tree') };
    expect(await client.ask({ event: 'tree', data: tree, id: 1 })).toMatchObject({ data: 'done' });
    expect(seen[0]).toMatchObject({ child: { child: { child: {} } } });
  });

  it('is refused where nobody could know that it is sealed', async () => {
    for (const pan of ['plain', await sealed('1111', 'dynamic')]) {
      const data = { kind: 'card', payment: { kind: 'card', pan } };
      expect((await client.ask({ event: 'dynamic', data, id: 1 })).data).toMatchObject({
        code: 'VALIDATION_FAILED',
        details: expect.arrayContaining([{ path: 'payment.pan', rule: 'sealed', message: 'could not be opened' }]),
      });
    }
    expect(seen).toEqual([]);
  });

  it('holds any JSON value, for anonymous sessions too', async () => {
    const stranger = await Client.connect(`${running.url}/ws`);
    for (const value of ['text', 1, false, { a: [null] }]) {
      const data = { value: await seal.seal(value, { event: 'anything' }) };
      expect(await stranger.ask({ event: 'anything', data, id: 1 })).toMatchObject({ data: 'done' });
      expect(seen.at(-1)).toEqual(value);
    }
    expect(await client.ask({ event: 'anything', data: { value: await sealed(1, 'payout') }, id: 2 })).toMatchObject(
      refused('value'),
    );
    await stranger.close();
  });

  it('is opened a hundred times in one message, and never after ten that did not open', async () => {
    const iban = await sealed('x');
    const item = { pan: await sealed('1111'), year: 1 };
    const data = (count: number) => ({ amount: 1, iban, cards: Array.from({ length: count }, () => item) });
    expect(await client.ask({ event: 'payout', data: data(99), id: 1 })).toMatchObject({ data: 'done' });
    expect(await client.ask({ event: 'payout', data: data(102), id: 2 })).toMatchObject(
      refused('cards.99.pan', 'cards.100.pan', 'cards.101.pan'),
    );
    const many = { amount: 1, iban, cards: Array.from({ length: 200 }, () => ({ pan: '', year: 1 })) };
    const { data: error } = await client.ask({ event: 'payout', data: many, id: 3 });
    expect((error as { details: unknown[] }).details).toHaveLength(10);
  });

  it('passes a pipe that validates it once more', async () => {
    const data = { amount: 1, iban: await sealed('x', 'twice'), card: { pan: await sealed('1111', 'twice'), year: 1 } };
    expect(await client.ask({ event: 'twice', data, id: 1 })).toMatchObject({ data: 'done' });
    expect(seen[0]).toMatchObject({ iban: 'x', card: { pan: '1111' } });
    expect(await client.ask({ event: 'twice', data: { ...data, iban: 'x' }, id: 2 })).toMatchObject(refused('iban'));
  });
});

describe('a class with a sealed field', () => {
  it("passes Nest's own ValidationPipe, which makes a new instance of it", async () => {
    await start({
      providers: [{ provide: APP_PIPE, useValue: new ValidationPipe({ transform: true, whitelist: true }) }],
    });
    const data = { amount: 1, iban: await sealed('x') };
    expect(await client.ask({ event: 'payout', data, id: 1 })).toMatchObject({ data: 'done' });
    expect(seen[0]).toMatchObject({ amount: 1, iban: 'x' });
  });

  it('is not valid where nobody opens it', async () => {
    const validator = dtoValidator(CardDto);
    expect(validator.isCompiled).toBe(true);
    for (const pan of ['1111', {}, 1]) {
      await expect(validator.validate({ pan, year: 1 })).rejects.toMatchObject({
        details: expect.arrayContaining([{ path: 'pan', rule: 'sealed', message: 'could not be opened' }]),
      });
    }
    const errors = await validate(plainToInstance(CardDto, { pan: '1111', year: 1 }));
    expect(errors).toMatchObject([{ property: 'pan', constraints: { sealed: 'could not be opened' } }]);
  });

  it('needs no instance of its own: seal and fingerprints can be injected', async () => {
    const keys = `f:${randomBytes(32).toString('base64url')}`;
    await start({ options: { sealing, fingerprints: { keys } } });
    const configured = running.app.get(Fingerprints);
    expect(configured.of('subject', 'ada')).toMatch(/^f\./);
    const other = await startApp();
    expect(other.app.get(Fingerprints).of('subject', 'ada')).toMatch(/^process\./);
    expect(other.app.get(WsSeal).isReady).toBe(false);
  });

  it('stops the start when there are no keys, and is named', async () => {
    await expect(startApp({ gateways: [PayoutGateway] })).rejects.toThrow('PayoutDto.iban is @Sealed()');
  });

  it('stops the start when a key is bad, without showing it', async () => {
    const secret = randomBytes(31).toString('base64url');
    const starting = startApp({ options: { sealing: { keys: `a:${secret}` } } });
    await expect(starting).rejects.toThrow('sealing.keys entry 1 has a key of 31 bytes');
    await expect(starting).rejects.not.toThrow(secret);
  });
});

import {
  BadRequestException,
  ConflictException,
  ForbiddenException,
  GoneException,
  HttpException,
  InternalServerErrorException,
  NotFoundException,
  ServiceUnavailableException,
  UnprocessableEntityException,
  UsePipes,
  ValidationPipe,
} from '@nestjs/common';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { IsString } from 'class-validator';
import { NEVER, Observable } from 'rxjs';
import { afterEach, describe, expect, it } from 'vitest';
import { ERRORS } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';
import { Client } from '../support/client.js';
import { token } from '../support/tokens.js';

/** By event: what a service throws. */
const THROWN: Readonly<Record<string, () => unknown>> = {
  400: () => new BadRequestException('Order has been shipped'),
  422: () => new UnprocessableEntityException('Order has been shipped'),
  '422 as text': () => new HttpException('Order has been shipped', 422),
  '400 as object': () => new BadRequestException({ message: 'Order has been shipped', hint: 'none' }),
  '400 without a word': () => new BadRequestException(),
  '422 without a word': () => new UnprocessableEntityException(),
  '400 of many sentences': () => new BadRequestException(['text "secret" is too long']),
  '400 of an object': () => new BadRequestException({ errors: ['secret'] }),
  403: () => new ForbiddenException('Not yours'),
  404: () => new NotFoundException('No such order'),
  409: () => new ConflictException('Order has been shipped'),
  410: () => new GoneException('It was here'),
  402: () => new HttpException('Pay first', 402),
  code: () => new ConflictException({ code: 'ORDER_SHIPPED', message: 'Order has been shipped' }),
  'code and more': () =>
    new ConflictException({ code: 'ORDER_SHIPPED', message: 'Too late', statusCode: 409, order: 7 }),
  'code of a 400': () => new BadRequestException({ code: 'ORDER_SHIPPED', message: 'Too late', error: 'Bad Request' }),
  'code of a 503': () => new ServiceUnavailableException({ code: 'STOCK_CLOSED', message: 'Closed' }),
  'illegal code': () => new ConflictException({ code: 'order-shipped', message: 'Too late' }),
  'code that is a number': () => new ConflictException({ code: 42, message: 'Too late' }),
  'code of a 500': () =>
    new InternalServerErrorException({ code: 'ORDER_SHIPPED', message: 'the password is hunter2' }),
  'code INTERNAL': () => new ConflictException({ code: 'INTERNAL', message: 'the password is hunter2' }),
};

class NoteDto {
  @IsString() text!: string;
}

@WebSocketGateway()
class OrdersGateway {
  static handled = 0;
  @SubscribeMessage('throw') throw(@MessageBody() what: string): never {
    throw THROWN[what]?.();
  }
  @UsePipes(new ValidationPipe())
  @SubscribeMessage('note')
  note(@MessageBody() { text }: NoteDto): string {
    return text;
  }
  @SubscribeMessage('watch') watch(): Observable<never> {
    OrdersGateway.handled++;
    return NEVER;
  }
  @SubscribeMessage('watch-later') watchLater(): Promise<Observable<never>> {
    OrdersGateway.handled++;
    return Promise.resolve(NEVER);
  }
}

afterEach(stopApps);

describe('what a service throws by HTTP status', () => {
  const words = (message: string): object => ({ message, details: [{ path: '', rule: 'badRequest', message }] });
  it.each([
    ['400', 'VALIDATION_FAILED', words('Order has been shipped')],
    ['422', 'VALIDATION_FAILED', words('Order has been shipped')],
    ['422 as text', 'VALIDATION_FAILED', words('Order has been shipped')],
    ['400 as object', 'VALIDATION_FAILED', words('Order has been shipped')],
    ['400 without a word', 'VALIDATION_FAILED', words(ERRORS.VALIDATION_FAILED.message)],
    ['422 without a word', 'VALIDATION_FAILED', words(ERRORS.VALIDATION_FAILED.message)],
    ['400 of many sentences', 'VALIDATION_FAILED', words(ERRORS.VALIDATION_FAILED.message)],
    ['400 of an object', 'VALIDATION_FAILED', words(ERRORS.VALIDATION_FAILED.message)],
    ['403', 'FORBIDDEN', { message: 'Not yours' }],
    ['404', 'NOT_FOUND', { message: 'No such order' }],
    ['409', 'CONFLICT', { message: 'Order has been shipped' }],
    ['410', 'NOT_FOUND', { message: 'It was here' }],
    ['402', 'APPLICATION_ERROR', { message: 'Pay first' }],
    ['code', 'ORDER_SHIPPED', { message: 'Order has been shipped' }],
    ['code and more', 'ORDER_SHIPPED', { message: 'Too late', details: { order: 7 } }],
    ['code of a 400', 'ORDER_SHIPPED', { message: 'Too late' }],
    ['code of a 503', 'STOCK_CLOSED', { message: 'Closed' }],
    ['illegal code', 'CONFLICT', { message: 'Too late' }],
    ['code that is a number', 'CONFLICT', { message: 'Too late' }],
  ])('reaches the client in its words: %s', async (what, code, rest) => {
    const { url } = await startApp({ gateways: [OrdersGateway] });
    const client = await Client.connect(`${url}/ws`, { token: token() });
    const { data, id } = await client.ask({ event: 'throw', data: what, id: 1 });
    expect({ data, id }).toEqual({ data: { status: 'error', code, retryable: false, ...rest }, id: 1 });
    expect(JSON.stringify(data)).not.toContain('secret');
  });

  it.each(['code of a 500', 'code INTERNAL'])('stays here where it is a fault of the server: %s', async (what) => {
    const { url, log } = await startApp({ gateways: [OrdersGateway] });
    const client = await Client.connect(`${url}/ws`, { token: token() });
    const { data } = await client.ask({ event: 'throw', data: what, id: 1 });
    expect(data).toMatchObject({ code: 'INTERNAL', message: ERRORS.INTERNAL.message });
    expect(log.lines[0]?.stack).toContain('hunter2');
  });

  it('does not quote the payload back where a pipe has refused it', async () => {
    const { url } = await startApp({ gateways: [OrdersGateway] });
    const client = await Client.connect(`${url}/ws`, { token: token() });
    const { data } = await client.ask({ event: 'note', data: { text: { secret: 1 } }, id: 1 });
    expect(data).toMatchObject({ code: 'VALIDATION_FAILED', message: ERRORS.VALIDATION_FAILED.message });
    expect(JSON.stringify(data)).not.toContain('secret');
  });
});

describe('one stream too many', () => {
  it.each(['watch', 'watch-later'])(
    'is refused with retryAfterMs before its handler runs, and else without: %s',
    async (event) => {
      const { url } = await startApp({ gateways: [OrdersGateway], options: { limits: { maxStreams: 1 } } });
      OrdersGateway.handled = 0;
      const client = await Client.connect(`${url}/ws`, { token: token() });
      for (const id of [1, 2, 3]) client.send({ event, id });
      const [second, third] = [await client.next(), await client.next()];
      expect(third).toMatchObject({ id: 3, data: { code: 'RATE_LIMITED' } });
      expect(second).toMatchObject({ id: 2, data: { code: 'RATE_LIMITED' } });
      const promised = [second, third].filter(
        ({ data }) => (data as { retryAfterMs?: number }).retryAfterMs !== undefined,
      );
      expect(OrdersGateway.handled).toBe(3 - promised.length);
      expect(await client.ask({ event, id: 4 })).toMatchObject({
        id: 4,
        data: { retryable: true, retryAfterMs: 1_000 },
      });
      expect(OrdersGateway.handled).toBe(3 - promised.length);
    },
  );

  it('is not offered for a retry where its handler has run', async () => {
    const { url } = await startApp({ gateways: [OrdersGateway], options: { limits: { maxStreams: 1 } } });
    const client = await Client.connect(`${url}/ws`, { token: token() });
    client.send({ event: 'watch', id: 1 });
    const { data } = await client.ask({ event: 'watch-later', id: 2 });
    expect(data).toEqual({ status: 'error', code: 'RATE_LIMITED', message: 'Too many streams', retryable: false });
  });
});

import { ConflictException, InternalServerErrorException, NotFoundException } from '@nestjs/common';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { GatewayError, Public } from '../../../src/index.js';
import type { FailureRecord } from '../../../src/index.js';
import { startApp, stopApps } from '../../support/app.js';
import type { TestApp } from '../../support/app.js';
import { Client } from '../../support/client.js';
import { token } from '../../support/tokens.js';

/** An error with so many causes, the last of which is `root`. */
function chain(length: number, root = new TypeError('the root of it')): Error {
  let error: Error = root;
  for (let depth = length - 1; depth > 0; depth--) error = new Error(`cause ${depth}`, { cause: error });
  return new Error('outermost', { cause: error });
}

function circle(): Error {
  const error = new Error('one');
  error.cause = new Error('other', { cause: error });
  return error;
}

function hostile(): Error {
  const cause = Object.defineProperty(new Error('x'), 'stack', {
    get: () => {
      throw new Error('not to be read');
    },
  });
  return new Error('outer', { cause });
}

const SECRET_TEXT = 'my secret payload';

/** By event: what a handler throws. */
const THROWN: Readonly<Record<string, (data: unknown) => unknown>> = {
  one: () => chain(1),
  three: () => chain(3),
  thirty: () => chain(30),
  circle,
  hostile,
  aggregate: () => new AggregateError([new Error('first address'), new Error('second address')], 'no connection'),
  known: () => new NotFoundException('No such order', { cause: new Error('no rows') }),
  'known-code': () =>
    new ConflictException({ code: 'ORDER_SHIPPED', message: 'Too late' }, { cause: new Error('no rows') }),
  nest: () => new InternalServerErrorException('x', { cause: new Error('no rows') }),
  gateway: () => new GatewayError('ORDER_CLOSED', { cause: chain(2) }),
  internal: () => new GatewayError('INTERNAL', { cause: chain(2) }),
  driver: () =>
    new GatewayError('ORDER_CLOSED', { cause: Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }) }),
  'cause-object': () =>
    new GatewayError('ORDER_CLOSED', { cause: { code: 'E_STOCK', message: 'none left', card: SECRET_TEXT } }),
  text: () => 'the database is gone',
  object: () => ({ code: 'E_STOCK', message: 'none left', order: { card: SECRET_TEXT } }),
  payload: (data) => data,
  array: () => [{ property: 'text', target: SECRET_TEXT }],
  nothing: () => undefined,
  null: () => null,
  number: () => 42,
  symbol: () => Symbol('of a kind'),
  bare: () => Object.create(null) as unknown,
  long: () => 'x'.repeat(1_000_000),
  'long-cause': () =>
    new Error('outer', { cause: new Error('y'.repeat(1_000_000), { cause: new Error('the root of it') }) }),
  personal: () => new Error('outer', { cause: new Error(`ada@example.org ${token()}`) }),
};

@Public()
@WebSocketGateway()
class ThrowingGateway {
  @SubscribeMessage('throw') throw(@MessageBody() { what, data }: { what: string; data?: unknown }): never {
    throw THROWN[what]?.(data);
  }
}

describe('the log', () => {
  let test: TestApp;
  beforeEach(async () => {
    test = await startApp({ gateways: [ThrowingGateway], options: { privacy: { email: 'masked' } } });
  });
  afterEach(stopApps);

  async function lineOf(what: string, data?: unknown): Promise<FailureRecord> {
    const client = await Client.connect(`${test.url}/ws`);
    const answer = await client.ask({ event: 'throw', data: { what, data }, id: 1 });
    expect(answer).toMatchObject({ event: 'exception', id: 1 });
    const [line] = test.log.lines;
    if (line === undefined) throw new Error('There is no line');
    for (const text of ['no rows', 'root of it', 'E_STOCK']) expect(JSON.stringify(answer)).not.toContain(text);
    expect(JSON.stringify(line).length).toBeLessThan(20_000);
    return line;
  }

  it.each([
    ['one', /outermost\n    at [\s\S]*\n    caused by: TypeError: the root of it\n    at /],
    [
      'three',
      /outermost[\s\S]*caused by: Error: cause 1[\s\S]*caused by: Error: cause 2[\s\S]*caused by: TypeError: the root/,
    ],
    ['thirty', /cause 7\n[\s\S]*caused by: 22 more[\s\S]*caused by: TypeError: the root of it/],
    ['circle', /Error: one\n[\s\S]*caused by: Error: other\n/],
    ['hostile', /Error: outer\n[\s\S]*caused by: a value that throws when inspected/],
    ['aggregate', /no connection\n[\s\S]*caused by: Error: first address\n[\s\S]*caused by: Error: second address/],
    ['nest', /InternalServerErrorException: x\n[\s\S]*caused by: Error: no rows\n/],
    [
      'internal',
      /GatewayError: Internal error\n[\s\S]*caused by: Error: outermost\n[\s\S]*caused by: TypeError: the root of it/,
    ],
    ['long-cause', /caused by: Error: y+\n    caused by: Error: the root of it/],
    ['text', /^thrown: the database is gone$/],
    ['object', /^thrown: Object { code: "E_STOCK", message: "none left", order }$/],
    ['array', /^thrown: Array\(1\) of Object { property, target }$/],
    ['nothing', /^thrown: undefined$/],
    ['null', /^thrown: null$/],
    ['number', /^thrown: 42$/],
    ['symbol', /^thrown: Symbol\(of a kind\)$/],
    ['bare', /^thrown: object { {2}}$/],
    ['long', /^thrown: x{8000,8192}$/],
  ])('shows the stack of %s with all that caused it', async (what, expected) => {
    const { code, incidentId, stack } = await lineOf(what);
    expect([code, typeof incidentId]).toEqual(['INTERNAL', 'string']);
    expect(stack).toMatch(expected);
    expect(stack).not.toContain(SECRET_TEXT);
  });

  it.each([
    ['known', 'NOT_FOUND', /^Error: no rows, at Object\.known \(.*causes\.test\.ts:\d+:\d+\)$/],
    ['known-code', 'ORDER_SHIPPED', /^Error: no rows, at /],
    ['gateway', 'ORDER_CLOSED', /^Error: outermost, at .* < Error: cause 1, at .* < TypeError: the root of it, at /],
    ['driver', 'ORDER_CLOSED', /^Error \[ECONNREFUSED\]: refused, at /],
    ['cause-object', 'ORDER_CLOSED', /^thrown: Object { code: "E_STOCK", message: "none left", card }$/],
    ['one', 'INTERNAL', /^TypeError: the root of it, at /],
  ])('names what caused %s', async (what, code, expected) => {
    const line = await lineOf(what);
    expect(line.code).toBe(code);
    expect(line.cause).toMatch(expected);
    expect(line.cause).not.toContain('\n');
  });

  it('names members of a payload that is thrown, and shows none of it', async () => {
    const { stack } = await lineOf('payload', { text: SECRET_TEXT, 'ada@example.org': 1, deep: [SECRET_TEXT] });
    expect(stack).toBe('thrown: Object { text, deep }');
  });

  it('takes tokens and e-mail addresses out of causes', async () => {
    const { cause, stack } = await lineOf('personal');
    for (const text of [cause, stack]) expect(text).toContain('Error: a***@example.org [token]');
  });
});

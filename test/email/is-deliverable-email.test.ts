import { UseInterceptors } from '@nestjs/common';
import type { CallHandler, ExecutionContext, NestInterceptor } from '@nestjs/common';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { Type } from 'class-transformer';
import { IsOptional, ValidateNested } from 'class-validator';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CurrentSession, dtoValidator, EmailDto, IsDeliverableEmail, WsEmail } from '../../src/index.js';
import type { EmailOptions, EmailVerdict, WsSession } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client } from '../support/client.js';
import type { Frame } from '../support/client.js';
import { DnsServer, stopDnsServers } from '../support/dns-server.js';
import { token } from '../support/tokens.js';

class SignUpDto {
  @IsDeliverableEmail() email!: string;
}

class StrictDto {
  @IsDeliverableEmail({ refuseUnknown: true, message: 'use another address' }) email!: string;
}

class ListDto {
  @IsOptional() @IsDeliverableEmail({ each: true }) to?: string[];
  @IsOptional() @ValidateNested() @Type(() => SignUpDto) from?: SignUpDto;
}

class Transparent implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): ReturnType<CallHandler['handle']> {
    return next.handle();
  }
}

@WebSocketGateway()
class MailGateway {
  constructor(private readonly emails: WsEmail) {}

  @SubscribeMessage('sign-up') signUp(@MessageBody() dto: SignUpDto): SignUpDto {
    return dto;
  }
  @UseInterceptors(Transparent) @SubscribeMessage('through-nest') throughNest(
    @MessageBody() dto: SignUpDto,
  ): SignUpDto {
    return dto;
  }
  @SubscribeMessage('strict') strict(@MessageBody() dto: StrictDto): StrictDto {
    return dto;
  }
  @SubscribeMessage('list') list(@MessageBody() dto: ListDto): ListDto {
    return dto;
  }
  @SubscribeMessage('plain') plain(@MessageBody() dto: EmailDto): EmailDto {
    return dto;
  }
  @SubscribeMessage('ask') ask(
    @MessageBody() { email }: EmailDto,
    @CurrentSession() session: WsSession,
  ): Promise<EmailVerdict> {
    return this.emails.check(email, session);
  }
}

let dns: DnsServer;
beforeEach(async () => void (dns = await DnsServer.start()));
afterEach(async () => {
  await stopApps();
  await stopDnsServers();
});

const start = (email: EmailOptions = {}): Promise<TestApp> =>
  startApp({ gateways: [MailGateway], options: { email: { servers: [dns.address], ...email } } });
const connect = ({ url }: TestApp): Promise<Client> => Client.connect(`${url}/ws`, { token: token() });
const ask = (client: Client, event: string, data: unknown): Promise<Frame> => client.ask({ event, data, id: 1 });

const MX = { MX: { records: [{ mx: 'mail.example.org' }] } } as const;
const REFUSED = {
  path: 'email',
  rule: 'isDeliverableEmail',
  message: 'email must be an address that takes mail',
};

describe('@IsDeliverableEmail()', () => {
  it.each(['sign-up', 'through-nest'])('lets through what is deliverable, normalised, by %s', async (event) => {
    dns.set('xn--bcher-kva.example', MX);
    const client = await connect(await start());
    expect(await ask(client, event, { email: ' Ada@BÜCHER.example' })).toEqual({
      event,
      data: { email: 'Ada@xn--bcher-kva.example' },
      id: 1,
    });
  });

  it('refuses what is undeliverable, and neither the answer nor the log tells the address', async () => {
    const app = await start();
    const answer = await ask(await connect(app), 'sign-up', { email: 'ada.lovelace@nowhere.example' });
    expect(answer).toMatchObject({ data: { code: 'VALIDATION_FAILED', details: [REFUSED] } });
    expect(app.log.lines).toHaveLength(1);
    expect(JSON.stringify([answer, app.log.lines])).not.toMatch(/lovelace|nowhere/);
  });

  it('leaves what is no address to the rule for that, and asks nobody', async () => {
    const answer = await ask(await connect(await start()), 'sign-up', { email: 'ada@' });
    const details = [{ path: 'email', rule: 'isEmail', message: 'email must be an email' }];
    expect(answer).toMatchObject({ data: { code: 'VALIDATION_FAILED', details } });
    expect(dns.questions).toEqual([]);
  });

  it('refuses what is unknown only where that is asked for', async () => {
    dns.set('fail.example', { rcode: 'SERVFAIL' });
    const data = { email: 'ada@fail.example' };
    const client = await connect(await start());
    expect(await ask(client, 'sign-up', data)).toMatchObject({ event: 'sign-up', data });
    expect(await ask(client, 'strict', data)).toMatchObject({
      data: { details: [{ rule: 'isDeliverableEmail', message: 'use another address' }] },
    });
    const strict = await connect(await start({ refuseUnknown: true }));
    expect(await ask(strict, 'sign-up', data)).toMatchObject({ data: { details: [REFUSED] } });
  });

  it('works for lists and in nested classes', async () => {
    dns.set('example.org', MX);
    const client = await connect(await start());
    const good = { to: ['a@example.org', 'b@EXAMPLE.org'], from: { email: 'c@example.org' } };
    expect(await ask(client, 'list', good)).toMatchObject({ data: { to: ['a@example.org', 'b@example.org'] } });
    const bad = { to: ['a@example.org', 'b@nowhere.example'], from: { email: 'c@nowhere.example' } };
    const { data } = await ask(client, 'list', bad);
    expect((data as { details: { path: string }[] }).details.map(({ path }) => path)).toEqual(['to', 'from.email']);
    expect(dns.questions.map(({ name }) => name)).toEqual(['example.org', 'nowhere.example']);
  });

  it('takes look-ups from the budget of the session, on either lane', async () => {
    const app = await start({ lookupsPerMinutePerSession: 2 });
    const client = await connect(app);
    const refused = { data: { code: 'VALIDATION_FAILED' } };
    expect(await ask(client, 'sign-up', { email: 'a@a.example' })).toMatchObject(refused);
    expect(await ask(client, 'through-nest', { email: 'a@b.example' })).toMatchObject(refused);
    expect(await ask(client, 'sign-up', { email: 'a@c.example' })).toMatchObject({ event: 'sign-up' });
    expect(await ask(client, 'strict', { email: 'a@c.example' })).toMatchObject(refused);
    expect(await ask(await connect(app), 'sign-up', { email: 'a@c.example' })).toMatchObject(refused);
    expect(dns.questions).toHaveLength(3);
  });

  it('asks the servers of its own application when two run in one process', async () => {
    const other = await DnsServer.start();
    dns.set('example.org', MX);
    const [first, second] = await Promise.all(
      [start(), start({ servers: [other.address] })].map(async (app) => connect(await app)),
    );
    const [yes, no] = await Promise.all(
      [first, second].map((client) => ask(client as Client, 'sign-up', { email: 'a@example.org' })), // because there are two
    );
    expect(yes).toMatchObject({ event: 'sign-up' });
    expect(no).toMatchObject({ data: { details: [REFUSED] } });
  });

  it('says what it needs where there is nobody to ask, and can be given it', async () => {
    const { validate, isCompiled } = dtoValidator(SignUpDto);
    expect(isCompiled).toBe(false);
    await expect(validate({ email: 'a@example.org' })).rejects.toThrow(/needs WsGatewayModule, or WsEmail\.run\(\)/);
    dns.set('example.org', MX);
    const email = new WsEmail({ servers: [dns.address] });
    expect(await email.run(() => validate({ email: 'a@example.org' }))).toEqual({ email: 'a@example.org' });
    await expect(email.run(() => validate({ email: 'a@nowhere.example' }))).rejects.toMatchObject({
      details: [REFUSED],
    });
  });
});

describe('WsEmail in an application', () => {
  it('is injected, and says why', async () => {
    dns.set('example.org', { MX: { records: [{ mx: '.' }] } });
    const client = await connect(await start());
    expect(await ask(client, 'ask', { email: 'ada@example.org' })).toMatchObject({
      data: { verdict: 'undeliverable', reason: 'null-mx' },
    });
  });

  it('is never asked by EmailDto', async () => {
    const client = await connect(await start());
    expect(await ask(client, 'plain', { email: 'ada@nowhere.example' })).toMatchObject({ event: 'plain' });
    expect(dns.questions).toEqual([]);
  });

  it('stops the start when its options are wrong', async () => {
    await expect(start({ servers: ['dns.example.org'], timeoutMs: 0 })).rejects.toThrow(
      /email\.servers must hold[\s\S]*email\.timeoutMs must be/,
    );
  });
});

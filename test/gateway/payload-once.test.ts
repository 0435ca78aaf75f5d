import { randomBytes } from 'node:crypto';
import { Injectable, ParseIntPipe, UseInterceptors, UsePipes, ValidationPipe } from '@nestjs/common';
import type { CallHandler, ExecutionContext, NestInterceptor, PipeTransform } from '@nestjs/common';
import { APP_PIPE } from '@nestjs/core';
import { MessageBody, SubscribeMessage, WebSocketGateway, WsException } from '@nestjs/websockets';
import { Expose, Transform, Type } from 'class-transformer';
import { IsIn, IsInt, IsOptional, IsString, MaxLength, ValidateBy, ValidateIf, ValidateNested } from 'class-validator';
import type { Observable } from 'rxjs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Authorize, GatewayError, Sealed, Sensitive, WsSession, WsValidationPipe } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';
import type { TestApp, TestAppOptions } from '../support/app.js';
import { Client } from '../support/client.js';
import { token } from '../support/tokens.js';

class SplitDto {
  @Transform(({ value }) => (value as string).split(','))
  @IsString({ each: true })
  tags!: string[];
}

class RenamedDto {
  @Expose({ name: 'user_name' }) @IsString() user!: string;
}

class Circle {
  @IsIn(['circle']) kind!: string;
  @IsInt() radius!: number;
}
class Square {
  @IsIn(['square']) kind!: string;
  @IsInt() side!: number;
}
class DrawingDto {
  @ValidateNested()
  @Type(() => Object, {
    keepDiscriminatorProperty: true,
    discriminator: {
      property: 'kind',
      subTypes: [
        { value: Circle, name: 'circle' },
        { value: Square, name: 'square' },
      ],
    },
  })
  shape!: Circle | Square;
}

class FileDto {
  @Transform(({ value }) => (value as string).toLowerCase()) @IsString() owner!: string;
}

/** With the fields of ES2022 each instance has `receivedAt`, and `seen` with what the class gives it. */
class NoteDto {
  @IsString() text!: string;
  receivedAt?: number;
  seen = false;
}
class NotesDto {
  @ValidateNested({ each: true }) @Type(() => NoteDto) notes!: NoteDto[];
  @IsOptional() @IsIn([1], { groups: ['never'] }) grouped?: number; // is not compiled
}

const asked: unknown[] = [];
const codes = new Set<string>();
class OnceDto {
  @ValidateBy({
    name: 'oneTimeCode',
    validator: {
      validate: (value: unknown) => {
        asked.push(value);
        return Promise.resolve(codes.delete(value as string)) as unknown as boolean;
      },
    },
  })
  code!: string;
}

class LateDto {
  @IsOptional() @Transform(({ value }) => Promise.reject(new Error(String(value)))) late?: unknown;
  @IsOptional() @ValidateIf(() => Promise.reject(new Error('later')) as unknown as boolean) @IsString() maybe?: string;
}

const says = (value: unknown): unknown => {
  if (value === 'bad') throw new TypeError('cannot read the secret');
  if (value === 'own') throw new GatewayError('CONFLICT', { message: 'There is one' });
  return value;
};
class ThrowingTransformDto {
  @Transform(({ value }) => says(value)) @IsString() a!: string;
}
class ThrowingRuleDto {
  @ValidateBy({ name: 'r', validator: { validate: (value) => says(value) === value } }) a!: string;
}
class ThrowingAsyncRuleDto {
  @ValidateBy({ name: 'r', async: true, validator: { validate: async (value) => (await says(value)) === value } })
  a!: string;
}
class ThrowingSetterDto {
  #a: unknown;
  @IsString() get a(): string {
    return this.#a as string;
  }
  set a(value: string) {
    this.#a = says(value);
  }
}

class GroupedDto {
  @IsInt({ groups: ['create'] }) count!: number;
  @IsInt({ groups: ['update'] }) id!: number;
}

class PersonDto {
  @IsString() @MaxLength(5) name!: string;
  @IsOptional() @Sensitive() @MaxLength(5) password?: string;
  @IsOptional() @IsString({ message: ({ value }) => `got ${String(value)}` }) quoting?: string;
  @IsOptional() @ValidateNested({ each: true }) @Type(() => Circle) shapes?: Circle[];
}

class PayoutDto {
  @Sealed() @IsString() iban!: string;
}

const seen: unknown[] = [];

@Injectable()
class Watching implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    seen.push(context.switchToWs().getData(), context.getArgs()[1]);
    return next.handle();
  }
}

const owns = (session: WsSession, { owner }: FileDto): boolean => {
  seen.push(owner);
  return owner === session.principal?.subject;
};

const shout: PipeTransform = {
  transform: (value: unknown, { type }) =>
    type === 'body' ? { ...(value as object), owner: (value as FileDto).owner.toUpperCase() } : value,
};

@WebSocketGateway()
class PayloadGateway {
  @SubscribeMessage('split') split(@MessageBody() { tags }: SplitDto): unknown {
    return tags;
  }
  @SubscribeMessage('renamed') renamed(@MessageBody() dto: RenamedDto): unknown {
    return dto.user;
  }
  @SubscribeMessage('drawing') drawing(@MessageBody() { shape }: DrawingDto): unknown {
    return shape.constructor.name;
  }
  @UsePipes(WsValidationPipe) @SubscribeMessage('twice') twice(@MessageBody() { tags }: SplitDto): unknown {
    return tags;
  }
  @UsePipes(WsValidationPipe, new WsValidationPipe())
  @SubscribeMessage('thrice')
  thrice(@MessageBody(WsValidationPipe) { tags }: SplitDto): unknown {
    return tags;
  }
  @Authorize(owns) @UseInterceptors(Watching) @SubscribeMessage('file') file(@MessageBody() file: FileDto): unknown {
    seen.push(file);
    return file.owner;
  }
  @Authorize(owns) @UsePipes(shout) @SubscribeMessage('shouted') shouted(@MessageBody() file: FileDto): unknown {
    return file.owner;
  }
  @SubscribeMessage('note') note(@MessageBody() note: NoteDto): unknown {
    return { ...note, isNote: note instanceof NoteDto };
  }
  @SubscribeMessage('notes') notes(@MessageBody() { notes }: NotesDto): unknown {
    return notes;
  }
  @SubscribeMessage('once') once(@MessageBody() { code }: OnceDto): unknown {
    return code;
  }
  @SubscribeMessage('late') async late(@MessageBody() dto: LateDto): Promise<unknown> {
    return (await dto.late) ?? dto.maybe;
  }
  @SubscribeMessage('transform') transform(@MessageBody() dto: ThrowingTransformDto): unknown {
    return dto.a;
  }
  @SubscribeMessage('rule') rule(@MessageBody() dto: ThrowingRuleDto): unknown {
    return dto.a;
  }
  @SubscribeMessage('async rule') asyncRule(@MessageBody() dto: ThrowingAsyncRuleDto): unknown {
    return dto.a;
  }
  @SubscribeMessage('setter') setter(@MessageBody() dto: ThrowingSetterDto): unknown {
    return dto.a;
  }
  @SubscribeMessage('create') create(@MessageBody(new WsValidationPipe({ groups: ['create'] })) dto: GroupedDto) {
    return { ...dto };
  }
  @UsePipes(new WsValidationPipe({ groups: ['update'] })) @SubscribeMessage('update') update(
    @MessageBody() dto: GroupedDto,
  ): unknown {
    return { ...dto };
  }
  @UsePipes(new WsValidationPipe({ groups: ['update'] })) @SubscribeMessage('innermost') innermost(
    @MessageBody(new WsValidationPipe({ groups: ['create'] })) dto: GroupedDto,
  ): unknown {
    return { ...dto };
  }
  @SubscribeMessage('person') person(@MessageBody() { name }: PersonDto): unknown {
    return name;
  }
  @SubscribeMessage('text') text(@MessageBody() text: string): unknown {
    return text;
  }
  @SubscribeMessage('number') number(@MessageBody('n') n: number): unknown {
    return n;
  }
  @SubscribeMessage('flag') flag(@MessageBody('on') on: boolean): unknown {
    return on;
  }
  @SubscribeMessage('parsed') parsed(@MessageBody('n', ParseIntPipe) n: number): unknown {
    return n;
  }
}

let test: TestApp;
let client: Client;
const start = async (setup: Partial<TestAppOptions> = {}): Promise<void> => {
  test = await startApp({ gateways: [PayloadGateway], ...setup });
  client = await Client.connect(`${test.url}/ws`, { token: token() });
};
const ask = async (event: string, data?: unknown): Promise<unknown> => (await client.ask({ event, data, id: 1 })).data;
const FAILED = { code: 'VALIDATION_FAILED' };

beforeEach(() => {
  seen.length = asked.length = 0;
  codes.clear();
});
afterEach(stopApps);

const pipes: [string, Partial<TestAppOptions>][] = [
  ['this package alone', {}],
  [
    'a global ValidationPipe',
    { before: (app) => app.useGlobalPipes(new ValidationPipe({ transform: true, whitelist: true })) },
  ],
  [
    'a ValidationPipe by APP_PIPE',
    { providers: [{ provide: APP_PIPE, useValue: new ValidationPipe({ transform: true }) }] },
  ],
  [
    'a subclass of ValidationPipe with private members',
    { before: (app) => app.useGlobalPipes(new OwnPipe({ transform: true })) },
  ],
];

class OwnPipe extends ValidationPipe {
  readonly #asked = new Set<unknown>();
  override async transform(value: unknown, metadata: Parameters<PipeTransform['transform']>[1]): Promise<unknown> {
    this.#asked.add(value);
    if (!this.#asked.has(value)) return undefined;
    return super.transform(value, metadata);
  }
}

describe.each(pipes)('a payload with %s', (name, setup) => {
  beforeEach(() => start(setup));

  it('is converted once', async () => {
    expect(await ask('split', { tags: 'a,b' })).toEqual(['a', 'b']);
    expect(await ask('renamed', { user_name: 'ada' })).toBe('ada');
    expect(await ask('drawing', { shape: { kind: 'circle', radius: 1 } })).toBe('Circle');
    expect(await ask('drawing', { shape: { kind: 'square', side: 1 } })).toBe('Square');
  });

  it('is converted once by the pipe of this package, as often as that is put on a handler', async () => {
    expect(await ask('twice', { tags: 'a,b' })).toEqual(['a', 'b']);
    expect(await ask('thrice', { tags: 'a,b' })).toEqual(['a', 'b']);
  });

  it('is what rules are asked about, what interceptors see and what the handler gets: one and the same value', async () => {
    expect(await ask('file', { owner: 'ADA' })).toBe('ada');
    expect(seen[0]).toBe('ada');
    expect(new Set(seen.slice(1)).size).toBe(1);
    expect(seen[1]).toBeInstanceOf(FileDto);
    expect(await ask('file', { owner: 'eve' })).toMatchObject({ code: 'FORBIDDEN' });
    expect(await ask('file', { owner: {} })).toMatchObject(FAILED);
  });

  it('is shown to a rule after the pipes of the application, as the handler gets it', async () => {
    expect(await ask('shouted', { owner: 'ada' })).toMatchObject({ code: 'FORBIDDEN' });
    expect(seen).toContain('ADA');
  });

  it('is VALIDATION_FAILED with details, which quote nothing, and a violation', async () => {
    const refused = await ask('person', {
      name: 'far too long',
      password: 'hunter2!',
      quoting: 7,
      shapes: [
        { kind: 'circle', radius: 1 },
        { kind: 'circle', radius: 'far' },
      ],
    });
    expect(refused).toMatchObject({
      ...FAILED,
      details: [
        { path: 'name', rule: 'maxLength' },
        { path: '', rule: 'sensitive' },
        { path: 'quoting', rule: 'isString', message: 'quoting does not fit isString' },
        { path: 'shapes.1.radius', rule: 'isInt' },
      ],
    });
    expect(JSON.stringify(refused)).not.toMatch(/hunter2|far|got 7/);
    expect(test.log.lines.at(-1)).toMatchObject({ code: 'VALIDATION_FAILED' });
  });

  it('whose transform, rule or setter throws is VALIDATION_FAILED without a word of what it threw', async () => {
    for (const event of ['transform', 'rule', 'async rule', 'setter']) {
      expect(await ask(event, { a: 'good' })).toBe('good');
      const refused = await ask(event, { a: 'bad' });
      expect(refused).toMatchObject(FAILED);
      expect(JSON.stringify(refused)).not.toContain('secret');
    }
    expect(test.log.lines.map(({ code }) => code)).not.toContain('INTERNAL');
  });

  it('whose rule throws a code ends in that code', async () => {
    for (const event of ['transform', 'rule', 'async rule', 'setter']) {
      expect(await ask(event, { a: 'own' })).toMatchObject({ code: 'CONFLICT', message: 'There is one' });
    }
  });

  it('with a promise that rejects, of a transform or a condition, ends no process', async () => {
    expect(await ask('late', { late: 'x' })).toMatchObject({
      code: expect.stringMatching(/VALIDATION_FAILED|INTERNAL/),
    });
    expect(await ask('late', { maybe: 'x' })).toBe('x');
    expect(await ask('late', { maybe: 1 })).toMatchObject(FAILED);
    await new Promise(setImmediate);
    expect(await client.ask({ event: 'ping', id: 2 })).toMatchObject({ event: 'pong' });
  });

  it('is asked once of a rule that returns a promise without saying so', async () => {
    for (const code of ['a', 'b', 'c']) {
      codes.add(code);
      expect(await ask('once', { code })).toBe(code);
      expect(await ask('once', { code })).toMatchObject({
        ...FAILED,
        details: [{ path: 'code', rule: 'oneTimeCode' }],
      });
    }
    expect(asked).toEqual(['a', 'a', 'b', 'b', 'c', 'c']);
  });

  it('may have properties without rules that the class makes, and none that the client sends', async () => {
    expect(await ask('note', { text: 'x' })).toMatchObject({ text: 'x', isNote: true });
    if (name !== 'this package alone') return; // its options say what becomes of the others
    expect(await ask('note', { text: 'x' })).toEqual({ text: 'x', seen: false, isNote: true });
    expect(await ask('notes', { notes: [{ text: 'x' }] })).toEqual([{ text: 'x', seen: false }]);
    const unknown = [{ path: '', rule: 'unknownProperty' }];
    expect(await ask('note', { text: 'x', receivedAt: 1 })).toMatchObject({ ...FAILED, details: unknown });
    expect(await ask('note', { text: 'x', seen: true })).toMatchObject({ ...FAILED, details: unknown });
    expect(await ask('notes', { notes: [{ text: 'x' }, { text: 'x', seen: true }] })).toMatchObject({
      ...FAILED,
      details: [{ path: 'notes.1', rule: 'unknownProperty' }],
    });
  });

  it('is checked for the groups of the pipe that stands at its handler', async () => {
    expect(await ask('create', { count: 1 })).toEqual({ count: 1 });
    expect(await ask('create', { id: 1 })).toMatchObject(FAILED);
    expect(await ask('update', { id: 1 })).toEqual({ id: 1 });
    expect(await ask('update', { count: 1 })).toMatchObject(FAILED);
    expect(await ask('innermost', { count: 1 })).toEqual({ count: 1 });
    expect(await ask('innermost', { id: 1 })).toMatchObject(FAILED);
  });
});

describe('a primitive payload', () => {
  beforeEach(() => start());

  it('is of the type that its parameter says, or nothing', async () => {
    expect(await ask('text', 'x')).toBe('x');
    expect(await ask('number', { n: 1 })).toBe(1);
    expect(await ask('flag', { on: false })).toBe(false);
    expect(await ask('text')).toBe(null);
    expect(await ask('text', { $ne: null })).toMatchObject({ ...FAILED, details: [{ path: '', rule: 'isString' }] });
    expect(await ask('number', { n: '1' })).toMatchObject({ ...FAILED, details: [{ path: 'n', rule: 'isNumber' }] });
    expect(await ask('flag', { on: 1 })).toMatchObject({ ...FAILED, details: [{ path: 'on', rule: 'isBoolean' }] });
  });

  it('is the pipe’s to judge where there is one', async () => {
    expect(await ask('parsed', { n: '41' })).toBe(41);
  });
});

describe('a ValidationPipe of the application', () => {
  const startWith = (pipe: PipeTransform, gateways = [PayloadGateway]): Promise<void> =>
    start({ gateways, before: (app) => app.useGlobalPipes(pipe) });

  it('strips or lets through what is unknown, as its options say', async () => {
    await startWith(new ValidationPipe({ transform: true, whitelist: true }));
    expect(await ask('note', { text: 'x', role: 'admin' })).toEqual({ text: 'x', isNote: true });
    await stopApps();
    await startWith(new ValidationPipe({ transform: true }));
    expect(await ask('note', { text: 'x', role: 'admin' })).toMatchObject({ role: 'admin' });
  });

  it('may say it in its own words', async () => {
    await startWith(new ValidationPipe({ exceptionFactory: () => new WsException('Not like this') }));
    expect(await ask('person', {})).toMatchObject({
      ...FAILED,
      message: 'Not like this',
      details: [{ path: 'name' }, { path: 'name' }],
    });
    await stopApps();
    await startWith(new ValidationPipe({ exceptionFactory: () => new GatewayError('CONFLICT') }));
    expect(await ask('person', {})).toMatchObject({ code: 'CONFLICT' });
    await stopApps();
    await startWith(new ValidationPipe({ exceptionFactory: async () => 'a text' }));
    expect(await ask('person', {})).toMatchObject({ ...FAILED, details: [{ path: 'name' }, { path: 'name' }] });
  });

  it('may say nothing', async () => {
    await startWith(new ValidationPipe({ disableErrorMessages: true }));
    const refused = await ask('person', { name: 1 });
    expect(refused).toMatchObject(FAILED);
    expect(JSON.stringify(refused)).not.toContain('name');
  });

  it('gets what is sealed after it has been opened', async () => {
    @WebSocketGateway()
    class SealedGateway {
      @SubscribeMessage('payout') payout(@MessageBody() { iban }: PayoutDto): unknown {
        return iban;
      }
    }
    const sealing = { keys: `a:${randomBytes(32).toString('base64url')}` };
    await start({
      gateways: [SealedGateway],
      options: { sealing },
      before: (app) => app.useGlobalPipes(new ValidationPipe({ transform: true, whitelist: true })),
    });
    expect(await ask('payout', { iban: 'open' })).toMatchObject({ ...FAILED, details: [{ rule: 'sealed' }] });
  });
});

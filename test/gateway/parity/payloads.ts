import { inspect } from 'node:util';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import type { Type } from '@nestjs/common';
import { IntersectionType, OmitType, PartialType, PickType } from '@nestjs/mapped-types';
import { Exclude, Expose, plainToInstance, Transform, Type as OfType } from 'class-transformer';
import * as v from 'class-validator';
import { EmailDto } from '../../../src/index.js';
import type { Case } from './both.js';

/** A payload class and what is sent to it. */
interface PayloadCases {
  readonly dto: Type;
  readonly payloads: Readonly<Record<string, unknown>>;
}

class Plain {
  @v.IsString() name!: string;
}
class Item {
  @v.IsInt() count!: number;
}
class Optional {
  @v.IsOptional() @v.IsString() name?: string;
}
class Conditional {
  @v.IsIn(['post', 'shop']) by!: string;
  @v.ValidateIf((self: Conditional) => self.by === 'post') @v.IsString() street?: string;
}
class Nested {
  @v.ValidateNested() @OfType(() => Item) item!: Item;
}
class Untyped {
  @v.IsObject() item!: object;
}
class Items {
  @v.IsArray()
  @v.ArrayMinSize(1)
  @v.ArrayMaxSize(2)
  @v.ValidateNested({ each: true })
  @OfType(() => Item)
  items!: Item[];
}
class Tree {
  @v.IsString() name!: string;
  @v.IsOptional() @v.ValidateNested({ each: true }) @OfType(() => Tree) children?: Tree[];
}
class Tags {
  @v.IsString({ each: true }) @v.ArrayUnique() tags!: string[];
}
class Split {
  @Transform(({ value }) => (value as string).split(',')) @v.IsString({ each: true }) tags!: string[];
}
class Trimmed {
  @Transform(({ value }: { value: unknown }) => (typeof value === 'string' ? value.trim() : value))
  @v.IsNotEmpty()
  name!: string;
}
class Twice {
  @Transform(({ value }) => Number(value) * 2) @v.IsInt() n!: number;
}
class Exposed {
  @Expose({ name: 'user_name' }) @v.IsString() userName!: string;
}
class Hidden {
  @v.IsString() name!: string;
  @Exclude() @v.IsOptional() @v.IsString() role?: string;
}
abstract class Shape {
  @v.IsIn(['circle', 'square']) kind!: string;
}
class Circle extends Shape {
  @v.IsNumber() radius!: number;
}
class Square extends Shape {
  @v.IsNumber() side!: number;
}
class Drawing {
  @v.ValidateNested()
  @OfType(() => Shape, {
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
enum Colour {
  Red = 'red',
  Blue = 'blue',
}
enum Level {
  Low,
  High,
}
class Enums {
  @v.IsEnum(Colour) colour!: Colour;
  @v.IsEnum(Level) level!: Level;
}
class Constants {
  @v.Equals('tea') article!: string;
  @v.NotEquals('free') price!: string;
  @v.IsNotIn(['root']) user!: string;
}
class Numbers {
  @v.IsInt() @v.Min(1) @v.Max(10) @v.IsPositive() @v.IsDivisibleBy(2) n!: number;
}
class Texts {
  @v.Length(2, 4) a!: string;
  @v.MinLength(1) @v.MaxLength(3) b!: string;
  @v.Matches(/^[a-z]+$/i) c!: string;
}
class Formats {
  @v.IsOptional() @v.IsEmail() email?: string;
  @v.IsOptional() @v.IsUUID() uuid?: string;
  @v.IsOptional() @v.IsUrl() url?: string;
  @v.IsOptional() @v.IsFQDN() host?: string;
  @v.IsOptional() @v.IsIP() ip?: string;
  @v.IsOptional() @v.IsISO8601() time?: string;
  @v.IsOptional() @v.IsDateString() date?: string;
  @v.IsOptional() @v.IsBase64() base64?: string;
  @v.IsOptional() @v.IsJWT() jwt?: string;
  @v.IsOptional() @v.IsPhoneNumber() phone?: string;
}
class Dated {
  @OfType(() => Date) @v.IsDate() at!: Date;
}
class Parent {
  @v.IsString() a!: string;
}
class Child extends Parent {
  @v.IsInt() b!: number;
}
class PartialChild extends PartialType(Child) {}
class PickedChild extends PickType(Child, ['a']) {}
class OmittedChild extends OmitType(Child, ['a']) {}
class Crossed extends IntersectionType(Parent, Item) {}
class OwnRule {
  @v.ValidateBy({ name: 'even', validator: { validate: (value: unknown) => Number(value) % 2 === 0 } }) n!: number;
}
class AsyncRule {
  @v.ValidateBy({
    name: 'known',
    async: true,
    validator: { validate: async (value: unknown) => (await Promise.resolve(value)) === 'ada' },
  })
  user!: string;
}
class Allowed {
  @v.Allow() anything!: unknown;
}
class Booleans {
  @v.IsBoolean() yes!: boolean;
  @v.IsDefined() there!: unknown;
}
class Maps {
  @v.IsOptional() @OfType(() => Item) @v.ValidateNested({ each: true }) set?: Set<Item>;
  @v.IsOptional() @OfType(() => Item) @v.ValidateNested({ each: true }) map?: Map<string, Item>;
}
class Defaults {
  @v.IsOptional() @v.IsInt() limit = 10;
  note = 'written by the class';
}
class NoRules {
  name!: string;
}
class Grouped {
  @v.IsString({ groups: ['create'] }) name!: string;
  @v.IsString() always!: string;
}
class FromInstance {
  @Transform(({ value }) => plainToInstance(Item, value)) @v.IsInstance(Item) item!: Item;
}
class Guarded {
  @Transform(({ value }) => {
    if (value === 'bad') throw new Error('cannot be read');
    return value as string;
  })
  @v.IsString()
  name!: string;
}

/** Every feature of class-validator and class-transformer that payload classes use. */
const PAYLOADS: Readonly<Record<string, PayloadCases>> = {
  'one rule': {
    dto: Plain,
    payloads: {
      right: { name: 'a' },
      wrong: { name: 1 },
      missing: {},
      nothing: undefined,
      null: null,
      text: 'x',
      array: [],
    },
  },
  'a property too many': { dto: Plain, payloads: { stripped: { name: 'a', role: 'admin' } } },
  IsOptional: { dto: Optional, payloads: { absent: {}, null: { name: null }, wrong: { name: 1 } } },
  ValidateIf: {
    dto: Conditional,
    payloads: { asked: { by: 'post', street: 'x' }, missing: { by: 'post' }, not: { by: 'shop' } },
  },
  ValidateNested: {
    dto: Nested,
    payloads: {
      right: { item: { count: 1 } },
      wrong: { item: { count: 'a' } },
      array: { item: [{ count: 1 }] },
      null: { item: null },
    },
  },
  'an untyped object': { dto: Untyped, payloads: { right: { item: { anything: [1] } }, wrong: { item: 1 } } },
  'arrays of classes': {
    dto: Items,
    payloads: {
      one: { items: [{ count: 1 }] },
      none: { items: [] },
      three: { items: [{ count: 1 }, { count: 2 }, { count: 3 }] },
      wrong: { items: [{ count: 1 }, {}] },
      object: { items: { 0: { count: 1 } } },
    },
  },
  recursion: {
    dto: Tree,
    payloads: {
      deep: { name: 'a', children: [{ name: 'b', children: [{ name: 'c' }] }] },
      wrong: { name: 'a', children: [{ name: 'b', children: [{ name: 1 }] }] },
    },
  },
  each: {
    dto: Tags,
    payloads: { right: { tags: ['a', 'b'] }, wrong: { tags: ['a', 1] }, repeated: { tags: ['a', 'a'] } },
  },
  'Transform that splits': { dto: Split, payloads: { right: { tags: 'a,b' } } },
  'Transform that trims': { dto: Trimmed, payloads: { right: { name: ' a ' }, blank: { name: '  ' } } },
  'Transform that is no projection': { dto: Twice, payloads: { right: { n: 1 }, text: { n: '2' }, wrong: { n: 'x' } } },
  'Transform that throws': { dto: Guarded, payloads: { right: { name: 'a' }, thrown: { name: 'bad' } } },
  'Expose by another name': { dto: Exposed, payloads: { right: { user_name: 'a' }, 'by its own': { userName: 'a' } } },
  Exclude: { dto: Hidden, payloads: { without: { name: 'a' }, with: { name: 'a', role: 'admin' } } },
  discriminator: {
    dto: Drawing,
    payloads: {
      circle: { shape: { kind: 'circle', radius: 1 } },
      square: { shape: { kind: 'square', side: 2 } },
      wrong: { shape: { kind: 'circle', side: 2 } },
    },
  },
  enums: {
    dto: Enums,
    payloads: {
      right: { colour: 'red', level: 1 },
      'a reverse key': { colour: 'red', level: 'High' },
      wrong: { colour: 'green', level: 0 },
    },
  },
  'Equals and IsNotIn': {
    dto: Constants,
    payloads: {
      right: { article: 'tea', price: '1', user: 'ada' },
      wrong: { article: 'tea', price: 'free', user: 'ada' },
      root: { article: 'tea', price: '1', user: 'root' },
    },
  },
  numbers: {
    dto: Numbers,
    payloads: {
      right: { n: 4 },
      odd: { n: 5 },
      large: { n: 12 },
      negative: { n: -2 },
      text: { n: '4' },
      fraction: { n: 2.5 },
    },
  },
  texts: {
    dto: Texts,
    payloads: {
      right: { a: 'ab', b: 'c', c: 'D' },
      short: { a: 'a', b: 'c', c: 'D' },
      long: { a: 'ab', b: 'cdef', c: 'D' },
      pattern: { a: 'ab', b: 'c', c: '1' },
    },
  },
  formats: {
    dto: Formats,
    payloads: Object.fromEntries(
      Object.entries({
        email: ['ada@example.com', 'ada@'],
        uuid: ['6f1c1a52-6d3f-4a0e-8a3c-0d8c1f1d7c11', 'x'],
        url: ['https://example.com/a', '//'],
        host: ['example.com', 'a_b'],
        ip: ['::1', '1.2.3'],
        time: ['2026-01-02T03:04:05Z', 'today'],
        date: ['2026-01-02', '02.01.2026'],
        base64: ['YWRh', 'ä'],
        jwt: ['e30.e30.e30', 'e30'],
        phone: ['+493012345678', '12'],
      }).flatMap(([name, values]) =>
        values.map((value, index) => [`${name} ${index === 0 ? 'right' : 'wrong'}`, { [name]: value }]),
      ),
    ),
  },
  'Type of Date': {
    dto: Dated,
    payloads: { right: { at: '2026-01-02T03:04:05.000Z' }, number: { at: 0 }, wrong: { at: 'soon' } },
  },
  inheritance: { dto: Child, payloads: { right: { a: 'x', b: 1 }, wrong: { a: 'x' } } },
  PartialType: { dto: PartialChild, payloads: { none: {}, one: { b: 2 }, wrong: { b: 'x' } } },
  PickType: { dto: PickedChild, payloads: { right: { a: 'x' }, more: { a: 'x', b: 1 }, wrong: {} } },
  OmitType: { dto: OmittedChild, payloads: { right: { b: 1 }, wrong: { a: 'x' } } },
  IntersectionType: { dto: Crossed, payloads: { right: { a: 'x', count: 1 }, wrong: { a: 'x' } } },
  'a rule of its own': { dto: OwnRule, payloads: { right: { n: 2 }, wrong: { n: 3 } } },
  'an async rule': { dto: AsyncRule, payloads: { right: { user: 'ada' }, wrong: { user: 'eve' } } },
  Allow: { dto: Allowed, payloads: { right: { anything: { a: [1] } }, none: {} } },
  booleans: {
    dto: Booleans,
    payloads: { right: { yes: false, there: 0 }, text: { yes: 'true', there: 0 }, missing: { yes: true } },
  },
  'Set and Map': {
    dto: Maps,
    payloads: { set: { set: [{ count: 1 }] }, map: { map: { a: { count: 1 } } }, wrong: { set: [{ count: 'x' }] } },
  },
  'defaults of the class': { dto: Defaults, payloads: { none: {}, one: { limit: 1 } } },
  'a class without rules': { dto: NoRules, payloads: { right: { name: 'a' } } },
  'groups that nobody chose': { dto: Grouped, payloads: { right: { name: 'a', always: 'b' }, wrong: { always: 'b' } } },
  IsInstance: { dto: FromInstance, payloads: { right: { item: { count: 1 } } } },
  EmailDto: { dto: EmailDto, payloads: { right: { email: 'ada@example.com' }, wrong: { email: 'ada' } } },
};

/** A gateway with an event for each class, which answers with what its handler was given. */
export function payloadGateway(): Type {
  class PayloadGateway {
    readonly cases = PAYLOADS;
  }
  for (const [name, { dto }] of Object.entries(PAYLOADS)) {
    const handler = {
      value: (body: unknown) => ({ event: 'given', data: inspect(body, { depth: 9, breakLength: Infinity }) }),
    };
    Object.defineProperty(PayloadGateway.prototype, name, handler);
    Reflect.defineMetadata('design:paramtypes', [dto], PayloadGateway.prototype, name);
    MessageBody()(PayloadGateway.prototype, name, 0);
    SubscribeMessage(name)(PayloadGateway.prototype, name, handler);
  }
  WebSocketGateway()(PayloadGateway);
  return PayloadGateway;
}

/** With the usual pipe, each of these is what stock Nest makes of it. */
export const payloadCases: readonly Case[] = Object.entries(PAYLOADS).flatMap(([event, { payloads }]) =>
  Object.entries(payloads).map(([name, data]) => ({ name: `${event}: ${name}`, event, data })),
);

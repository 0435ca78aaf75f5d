import { ValidationPipe } from '@nestjs/common';
import { Exclude, Expose, Transform, Type } from 'class-transformer';
import type { ClassConstructor } from 'class-transformer';
import {
  Allow,
  ArrayMaxSize,
  ArrayNotEmpty,
  IsArray,
  IsBoolean,
  IsDate,
  IsDefined,
  isEmail,
  IsEmail,
  IsEnum,
  IsIn,
  IsInt,
  IsNumber,
  IsObject,
  IsOptional,
  IsPositive,
  IsString,
  IsUUID,
  Length,
  Matches,
  Max,
  maxLength,
  MaxLength,
  Min,
  MinLength,
  registerDecorator,
  ValidateIf,
  ValidateNested,
} from 'class-validator';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { dtoValidator } from '../../src/validation/dto-validator.js';
import { detailsOfErrors } from '../../src/validation/validation-details.js';
import type { ErrorDetail, GatewayError } from '../../src/protocol/errors.js';
import { isPlainEmail } from '../../src/validation/fast-predicates.js';

/** Classes drawn, with four payloads for each: `FAST_CHECK_RUNS=25000` makes it 100,000 cases. */
const RUNS = Number(process.env.FAST_CHECK_RUNS ?? 1_000);

type Dto = ClassConstructor<object>;
type Make = (target: object, name: string) => void;

const pipe = new ValidationPipe({ whitelist: true, forbidNonWhitelisted: true, transform: true });

/** What Nest's ValidationPipe makes of a payload with the same options, or that it refuses it. */
async function expected(dto: Dto, payload: unknown): Promise<unknown> {
  try {
    return { instance: await pipe.transform(payload, { type: 'body', metatype: dto }) };
  } catch {
    return 'refused';
  }
}

async function actual(dto: Dto, payload: object): Promise<unknown> {
  try {
    return { instance: await dtoValidator(dto).validate(payload) };
  } catch {
    return 'refused';
  }
}

/** All that class-validator says of a payload, without a limit; undefined where it accepts, or a rule throws. */
async function wordsOf(dto: Dto, payload: unknown): Promise<ErrorDetail[] | undefined> {
  let words: ErrorDetail[] | undefined;
  const talkative = new ValidationPipe({
    whitelist: true,
    forbidNonWhitelisted: true,
    transform: true,
    validationError: { target: true, value: true },
    exceptionFactory: (errors) => {
      words = detailsOfErrors(errors, '', Infinity);
      return new Error('refused');
    },
  });
  await Promise.allSettled([talkative.transform(payload, { type: 'body', metatype: dto })]);
  return words;
}

const decorate =
  (...decorators: (() => PropertyDecorator)[]): Make =>
  (target, name) => {
    for (const decorator of decorators) decorator()(target, name);
  };

/** Rules a property may have. */
const RULES: Make[] = [
  decorate(() => IsString()),
  decorate(() => IsEmail()),
  decorate(() => IsString(), () => MaxLength(5)), // prettier-ignore
  decorate(() => IsOptional(), () => MinLength(2)), // prettier-ignore
  decorate(() => Length(1, 3)),
  decorate(() => IsInt(), () => Min(0), () => Max(10)), // prettier-ignore
  decorate(() => IsNumber({ allowNaN: false, maxDecimalPlaces: 1 })),
  decorate(() => IsOptional(), () => IsPositive()), // prettier-ignore
  decorate(() => IsBoolean()),
  decorate(() => IsIn(['a', 1, null])),
  decorate(() => IsEnum({ a: 'a', b: 2 })),
  decorate(() => Matches(/^[ab]+$/)),
  decorate(() => IsUUID()),
  decorate(() => IsDefined()),
  decorate(() => Allow()),
  decorate(() => IsObject()),
  decorate(() => IsArray(), () => ArrayNotEmpty(), () => ArrayMaxSize(2)), // prettier-ignore
  decorate(() => IsString({ each: true })),
  decorate(() => IsInt({ each: true }), () => ArrayMaxSize(3)), // prettier-ignore
  decorate(() => ValidateIf((object: { other?: unknown }) => object.other === 'a'), () => IsInt()), // prettier-ignore
  decorate(() => IsInt({ validateIf: (_: object, value: unknown) => value !== 'a' })),
  decorate(() => Type(() => Number), () => IsInt()), // prettier-ignore
  decorate(() => Type(() => String), () => IsString({ each: true })), // prettier-ignore
  decorate(() => Type(() => Boolean), () => IsBoolean()), // prettier-ignore
  decorate(() => Type(() => Date), () => IsDate()), // prettier-ignore
  decorate(() => Transform(({ value }) => (typeof value === 'string' ? value.trim() : value)), () => IsString()), // prettier-ignore
  decorate(() => Transform(({ value, key, obj }) => [value, key, Object.keys(obj as object)]), () => IsArray()), // prettier-ignore
  decorate(() => Expose(), () => IsString()), // prettier-ignore
  decorate(() => Expose({ name: 'other' }), () => IsString()), // prettier-ignore
  decorate(() => Expose(), () => Type(() => Number), () => IsOptional(), () => IsInt()), // prettier-ignore
  decorate(() => Expose({ name: 'first' }), () => Transform(({ value, key }) => value ?? key), () => IsString()), // prettier-ignore
  decorate(() => Expose({ name: 'unknown', toClassOnly: true }), () => IsString()), // prettier-ignore
  decorate(() => Exclude(), () => IsOptional()), // prettier-ignore
  decorate(() => IsString({ groups: ['admin'] })),
];

const NAMES = ['first', 'second', 'other', 'constructors'];

/** A class with rules drawn for its properties, nested in others up to a depth. */
const dtos: fc.Arbitrary<Dto> = fc.letrec<{ dto: Dto; property: Make }>((tie) => ({
  property: fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(...RULES) },
    { weight: 1, arbitrary: tie('dto').map((dto) => decorate(() => ValidateNested(), () => Type(() => dto))) }, // prettier-ignore
    { weight: 1, arbitrary: tie('dto').map((dto) => decorate(() => IsOptional(), () => ValidateNested({ each: true }), () => Type(() => dto))) }, // prettier-ignore
  ),
  dto: fc
    .uniqueArray(fc.tuple(fc.constantFrom(...NAMES), tie('property')), {
      minLength: 1,
      maxLength: 3,
      selector: ([name]) => name,
      depthIdentifier: 'dto',
    })
    .map((properties) => {
      class Generated {
        /** A class without members is no class to the linter. */
        toJSON(): object {
          return { ...this };
        }
      }
      for (const [name, make] of properties) make(Generated.prototype, name);
      return Generated;
    }),
})).dto;

const scalars = fc.oneof(
  fc.constantFrom(
    null,
    true,
    false,
    '',
    'a',
    'ab',
    ' a ',
    'abcdefg',
    'a@example.com',
    'a@b',
    '1',
    '1.5',
    0,
    1,
    5,
    11,
    -1,
    1.5,
    1.55,
    '2020-01-01',
  ),
  fc.constant('6ba7b810-9dad-41d1-80b4-00c04fd430c8'),
);
const values = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    { weight: 5, arbitrary: scalars },
    { weight: 1, arbitrary: fc.array(tie('value'), { maxLength: 4 }) },
    { weight: 2, arbitrary: fc.dictionary(fc.constantFrom(...NAMES, 'unknown'), tie('value'), { maxKeys: 4 }) },
  ),
})).value;
const payloads = fc.dictionary(fc.constantFrom(...NAMES, ...NAMES, 'unknown'), values, { maxKeys: 4 });

/** JSON as it comes off the wire: objects of Object, and nothing shared between two runs. */
const fresh = (payload: object): object => JSON.parse(JSON.stringify(payload)) as object;

describe('a compiled DTO', () => {
  it('has the verdict and the result of ValidationPipe', { timeout: 600_000 }, async () => {
    let compiled = 0;
    let accepted = 0;
    await fc.assert(
      fc.asyncProperty(dtos, fc.array(payloads, { minLength: 4, maxLength: 4 }), async (dto, list) => {
        if (dtoValidator(dto).isCompiled) compiled++;
        for (const payload of list) {
          const wanted = await expected(dto, fresh(payload));
          const got = await actual(dto, fresh(payload));
          if (wanted !== 'refused') accepted++;
          expect(got).toStrictEqual(wanted);
        }
      }),
      { numRuns: RUNS },
    );
    expect(compiled).toBeGreaterThan(RUNS / 2); // or the test would compare the slow path with itself
    expect(accepted).toBeGreaterThan(RUNS / 10);
  });

  it('has the verdict of ValidationPipe on large payloads, and says nothing that class-validator would not', async () => {
    let refused = 0;
    const bulky = fc.tuple(dtos, payloads, fc.constantFrom(...NAMES), fc.nat({ max: 300 }));
    await fc.assert(
      fc.asyncProperty(bulky, async ([dto, payload, name, at]) => {
        const inner = { ...payload };
        const items = Array.from({ length: 250 }, (_, i) => (i === at ? { ...inner, unknown: 1 } : inner));
        const unknown = Object.fromEntries(Array.from({ length: 250 }, (_, i) => [`unknown${i}`, {}]));
        for (const large of [
          { ...payload, [name]: items },
          { ...payload, [name]: unknown },
          { ...payload, ...unknown },
        ]) {
          const wanted = await expected(dto, fresh(large));
          const got = await actual(dto, fresh(large));
          expect(got).toStrictEqual(wanted);
          if (wanted !== 'refused') continue;
          refused++;
          const known = await wordsOf(dto, fresh(large));
          if (known === undefined) continue;
          const thrown: unknown = await (async () => dtoValidator(dto).validate(fresh(large)))().then(String, (e) => e);
          for (const detail of (thrown as GatewayError).details as ErrorDetail[]) expect(known).toContainEqual(detail);
        }
      }),
      { numRuns: RUNS / 40 }, // each is three payloads of 250 objects
    );
    expect(refused).toBeGreaterThan(RUNS / 40);
  });

  it('is worth the name: what can be compiled is, and what cannot says why', () => {
    class Plain {
      @IsEmail() email!: string;
      @IsString() @MaxLength(100) text!: string;
    }
    class Exposing {
      @Expose({ groups: ['a'] }) @IsString() text!: string;
    }
    class Renamed {
      @Expose({ name: 'wire_name' }) @IsString() text!: string;
      @Exclude() @IsOptional() secret?: string;
    }
    class Grouped {
      @IsString({ groups: ['a'] }) text!: string;
    }
    class Async {
      @LaterTrue() text!: string;
    }
    class Defaulted {
      helper = 1;
      @IsString() text = 'a';
    }
    class Recursive {
      @IsOptional() @ValidateNested() @Type(() => Recursive) self?: Recursive;
    }
    expect(dtoValidator(Plain)).toMatchObject({ isCompiled: true, reason: undefined });
    expect(dtoValidator(Recursive)).toMatchObject({ isCompiled: true });
    expect(dtoValidator(Exposing)).toMatchObject({ isCompiled: false, reason: 'text has an @Expose() with options' });
    expect(dtoValidator(Renamed).validate({ wire_name: 'a', secret: 'b' })).toEqual({ text: 'a' });
    expect(dtoValidator(Grouped)).toMatchObject({ isCompiled: false, reason: 'text has groups' });
    expect(dtoValidator(Async)).toMatchObject({ isCompiled: false, reason: 'text has an async rule' });
    expect(dtoValidator(Defaulted)).toMatchObject({ isCompiled: true }); // only what the client sends can be unknown
    expect(dtoValidator(Recursive).validate({ self: { self: {} } })).toBeInstanceOf(Recursive);
  });

  it('waits for a rule that answers with a promise without having said so', async () => {
    class Sneaky {
      @PromisedFalse() text!: string;
    }
    const validator = dtoValidator(Sneaky);
    expect(validator.isCompiled).toBe(true);
    await expect(validator.validate({ text: 'a' })).rejects.toMatchObject({ code: 'VALIDATION_FAILED' });
  });

  it('leaves no rejection of such a rule unhandled, which would end the process', async () => {
    const unhandled: unknown[] = [];
    const listener = (reason: unknown): void => void unhandled.push(reason);
    process.on('unhandledRejection', listener);
    class Breaking {
      @PromisedFailure() text!: string;
    }
    await expect(dtoValidator(Breaking).validate({ text: 'a' })).rejects.toThrow('nobody there');
    await new Promise(setImmediate);
    process.off('unhandledRejection', listener);
    expect(unhandled).toEqual([]);
  });

  it('does not take a rule for one of class-validator because of its name', () => {
    class Imposed {
      @NotReallyIsEmail() email!: string;
    }
    expect(dtoValidator(Imposed).validate({ email: 'a' })).toBeInstanceOf(Imposed);
  });
});

function LaterTrue(): PropertyDecorator {
  return rule('later', { async: true, validate: () => Promise.resolve(true) });
}

function PromisedFalse(): PropertyDecorator {
  return rule('promised', { validate: () => Promise.resolve(false) });
}

function PromisedFailure(): PropertyDecorator {
  return rule('promised', { validate: () => Promise.reject(new Error('nobody there')) });
}

function NotReallyIsEmail(): PropertyDecorator {
  return rule('isEmail', { validate: (value: unknown) => value === 'a' });
}

function rule(
  name: string,
  { async = false, validate }: { async?: boolean; validate: (value: unknown) => boolean | Promise<boolean> },
): PropertyDecorator {
  return (target, propertyName) =>
    registerDecorator({
      name,
      async,
      target: target.constructor,
      propertyName: propertyName as string,
      validator: { validate },
    });
}

describe('a predicate that is sure', () => {
  const parts = fc.string({ unit: fc.constantFrom(...'ab1._-+@ ä"'), maxLength: 70 });
  const addresses = fc.oneof(
    parts,
    fc.tuple(parts, parts).map(([a, b]) => `${a}@${b}.com`),
    fc.emailAddress(),
  );

  it('accepts no address that isEmail refuses', () => {
    fc.assert(
      fc.property(addresses, (address) => !isPlainEmail(address) || isEmail(address)),
      { numRuns: RUNS * 2 },
    );
    expect(isPlainEmail('ada.lovelace@example.co.uk')).toBe(true);
  });

  it('accepts no text that maxLength refuses', () => {
    const texts = fc.string({ unit: fc.constantFrom('a', '💥', '❤️', 'é', '\ud83d'), maxLength: 12 });
    fc.assert(
      fc.property(texts, fc.integer({ min: 0, max: 12 }), (text, max) => !(text.length <= max) || maxLength(text, max)),
      { numRuns: RUNS },
    );
  });
});

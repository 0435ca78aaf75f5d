import { Expose, Type } from 'class-transformer';
import {
  ArrayMaxSize,
  IsByteLength,
  IsEmail,
  IsInt,
  IsObject,
  IsOptional,
  IsString,
  registerDecorator,
  ValidateNested,
} from 'class-validator';
import { describe, expect, it } from 'vitest';
import { dtoValidator } from '../../src/validation/dto-validator.js';
import type { GatewayError } from '../../src/index.js';

class CompiledDto {
  @IsOptional() @IsEmail() email?: string;
  @IsOptional() @IsByteLength(1, 100) text?: string;
}

class SlowDto {
  @IsOptional() @IsEmail() email?: string;
  @IsOptional() @ValidateNested({ each: true }) @Type(() => CompiledDto) map?: Map<string, CompiledDto>;
}

const Fails = (): PropertyDecorator => (target, propertyName) =>
  registerDecorator({
    target: target.constructor,
    propertyName: propertyName as string,
    validator: {
      validate: () => {
        throw new URIError('the rule is at fault');
      },
    },
  });

class FaultyDto {
  @IsString() @Fails() text!: string;
}

describe('half a surrogate pair', () => {
  it.each([
    [CompiledDto, { email: '\ud800@example.org' }],
    [CompiledDto, { email: 'ada@\udfff.example' }],
    [CompiledDto, { text: '\ud83d' }],
    [SlowDto, { email: '\ud800@example.org' }],
  ])('is the fault of who sent it, whatever a rule does with it: %o, %o', async (dto, payload) => {
    const validator = dtoValidator<object>(dto);
    expect(validator.isCompiled).toBe(dto === CompiledDto);
    const refused = async (): Promise<unknown> => validator.validate(payload, 'at');
    await expect(refused()).rejects.toMatchObject({ code: 'VALIDATION_FAILED', details: [{ path: 'at' }] });
  });

  it('is no excuse for a rule that throws of itself', async () => {
    const refused = async (): Promise<unknown> => dtoValidator(FaultyDto).validate({ text: 'fine' });
    await expect(refused()).rejects.toThrow(URIError);
  });
});

let made = 0;

class LineDto {
  @IsInt() amount!: number;
  @IsString() article!: string;
  constructor() {
    made++;
  }
}

class LinesDto {
  @ValidateNested({ each: true }) @Type(() => LineDto) lines!: LineDto[];
}

class FewLinesDto extends LinesDto {
  @ArrayMaxSize(10) declare lines: LineDto[];
}

class UncompiledLinesDto extends LinesDto {
  @Expose({ groups: ['never'] }) @IsOptional() @IsString() note?: string;
}

let looked = 0;

class UnknownDto {
  @IsObject() data!: object;
  @IsInt() n!: number;
}

async function refusalOf(dto: new () => object, payload: unknown): Promise<{ path: string; rule: string }[]> {
  try {
    await dtoValidator(dto).validate(payload);
  } catch (error) {
    return (error as GatewayError).details as { path: string; rule: string }[];
  }
  throw new Error('accepted');
}

// Counted, not timed: each object that class-transformer makes and class-validator looks at costs about 10 µs.
describe('a large payload that is refused', () => {
  const good = { amount: 1, article: 'tea' };

  it.each([
    ['all items are bad', LinesDto, Array.from({ length: 21_000 }, () => ({})), 150],
    ['the last item is bad', LinesDto, [...Array.from({ length: 2_000 }, () => good), {}], 2 * 2_001 + 50],
    ['there are too many good items', FewLinesDto, Array.from({ length: 2_000 }, () => good), 2 * 2_000 + 50],
    ['the class is not compiled', UncompiledLinesDto, Array.from({ length: 21_000 }, () => ({})), 150],
  ])('is shown to class-validator in part: %s', async (_, dto, lines, most) => {
    dtoValidator(dto); // compiles
    made = 0;
    const details = await refusalOf(dto, { lines });
    expect(made).toBeLessThanOrEqual(most);
    expect(details.length).toBeGreaterThan(0);
  });

  it('has the positions of the bad items', async () => {
    const lines = [...Array.from({ length: 500 }, () => good), {}, good, { ...good, secret: 1 }];
    expect((await refusalOf(LinesDto, { lines })).map(({ path, rule }) => `${path} ${rule}`)).toEqual([
      'lines.500.amount isInt',
      'lines.500.article isString',
      'lines.502 unknownProperty',
    ]);
  });

  it('has the words for what is wrong with an array as a whole', async () => {
    const lines = Array.from({ length: 500 }, () => good);
    expect(await refusalOf(FewLinesDto, { lines })).toEqual([
      expect.objectContaining({ path: 'lines', rule: 'arrayMaxSize' }),
    ]);
  });

  it('copies nothing that no rule looks into, and takes thousands of unknown properties for one', async () => {
    const member = (): object => Object.defineProperty({}, 'seen', { enumerable: true, get: () => ++looked });
    const data = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`k${i}`, member()]));
    looked = 0;
    expect(await refusalOf(UnknownDto, { data, n: 'x' })).toEqual([
      expect.objectContaining({ path: 'n', rule: 'isInt' }),
    ]);
    expect(looked).toBeLessThanOrEqual(300); // by the compiled path, which looks for names of Object's
    looked = 0;
    expect(await refusalOf(UnknownDto, { ...data, data: {}, n: 1 })).toEqual([
      expect.objectContaining({ path: '', rule: 'unknownProperty' }),
    ]);
    expect(looked).toBe(0);
  });
});

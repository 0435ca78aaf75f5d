import { Type } from 'class-transformer';
import { IsByteLength, IsEmail, IsOptional, IsString, registerDecorator, ValidateNested } from 'class-validator';
import { describe, expect, it } from 'vitest';
import { dtoValidator } from '../../src/gateway/dto-validator.js';

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

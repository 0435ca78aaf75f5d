import { Type } from 'class-transformer';
import { IsArray, IsEmail, IsIn, IsInt, IsOptional, IsString, Length, Min, ValidateNested } from 'class-validator';
import { expect, it } from 'vitest';
import { dtoValidator } from '../../src/validation/dto-validator.js';
import { exampleOf } from '../../src/validation/dto-example.js';

class Line {
  @IsString() article!: string;
  @IsInt() @Min(3) amount!: number;
}

class Order {
  @IsEmail() buyer!: string;
  @IsIn(['card', 'cash']) by!: string;
  @Length(4, 8) code!: string;
  @IsString({ each: true }) @IsArray() tags!: string[];
  @ValidateNested({ each: true }) @Type(() => Line) lines!: Line[];
  @ValidateNested() @Type(() => Line) gift!: Line;
  @IsOptional() @IsString() note?: string;
}

class Tree {
  @IsString() name!: string;
  @ValidateNested({ each: true }) @Type(() => Tree) children!: Tree[];
}

it('makes a payload that the rules of a class let through', async () => {
  const example = exampleOf(Order);
  expect(example).toEqual({
    buyer: 'ada@example.com',
    by: 'card',
    code: 'xxxx',
    tags: ['text'],
    lines: [{ article: 'text', amount: 3 }],
    gift: { article: 'text', amount: 3 },
  });
  expect(await dtoValidator(Order).validate(example)).toBeInstanceOf(Order);
});

it('ends where a class nests itself, and has nothing for what has no rules', () => {
  expect(JSON.stringify(exampleOf(Tree)).match(/name/g)?.length).toBe(5);
  expect(exampleOf(Object)).toBe(undefined);
  expect(exampleOf(undefined)).toBe(undefined);
});

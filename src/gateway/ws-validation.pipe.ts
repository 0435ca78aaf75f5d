import { Injectable } from '@nestjs/common';
import type { ArgumentMetadata, PipeTransform } from '@nestjs/common';
import { hasRules } from './dto-rules.js';
import { dtoValidator, failed } from './dto-validator.js';
import type { DtoValidator } from './dto-validator.js';
import { detailsOfIssues } from './schema-issues.js';

type Schema = NonNullable<ArgumentMetadata['schema']>;

/**
 * Validates the body of a message: against the schema of `@MessageBody({ schema })` (Standard Schema), or against the
 * class-validator rules of the parameter's class. Unknown properties are refused, and what is passed on is an instance
 * of the class. Nothing that the client sent stands in the details, not even the name of an unknown property. A class
 * without any rule has none to break: its payload is passed on as it came.
 *
 * @throws GatewayError VALIDATION_FAILED
 */
@Injectable()
export class WsValidationPipe implements PipeTransform {
  readonly #validators = new WeakMap<object, DtoValidator<object>>();

  /** True when there is anything to check for a parameter: a body with a schema, or with a class that has rules. */
  applies({ type, schema, metatype }: ArgumentMetadata): boolean {
    return type === 'body' && (schema !== undefined || hasRules(metatype));
  }

  transform(value: unknown, metadata: ArgumentMetadata): unknown {
    const { schema, metatype, data: path = '' } = metadata;
    if (!this.applies(metadata)) return value;
    if (schema !== undefined) return validateSchema(value, schema, path);
    let validator = this.#validators.get(metatype as object);
    if (validator === undefined) {
      validator = dtoValidator(metatype as new () => object); // because applies() has seen a class
      this.#validators.set(metatype as object, validator);
    }
    // A message without data is an empty one: the rules say what it lacks.
    return validator.validate(value ?? {}, path);
  }
}

async function validateSchema(value: unknown, schema: Schema, path: string): Promise<unknown> {
  const result = await schema['~standard'].validate(value);
  if (result.issues === undefined) return result.value;
  throw failed(detailsOfIssues(result.issues, value, schema, path));
}

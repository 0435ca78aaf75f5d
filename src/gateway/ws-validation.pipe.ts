import { Injectable } from '@nestjs/common';
import type { ArgumentMetadata, PipeTransform } from '@nestjs/common';
import { plainToInstance } from 'class-transformer';
import type { ClassConstructor } from 'class-transformer';
import { validate } from 'class-validator';
import { GatewayError } from '../protocol/errors.js';
import type { ErrorDetail } from '../protocol/errors.js';
import { hasRules, misfit, UNKNOWN_PROPERTY } from './dto-rules.js';
import { detailsOfIssues } from './schema-issues.js';
import { detailsOfErrors } from './validation-details.js';

/** Most details of one refusal: a long list of bad items must not become a longer answer. */
export const MAX_DETAILS = 50;

type Dto = ClassConstructor<object>;
type Schema = NonNullable<ArgumentMetadata['schema']>;

const VALIDATOR_OPTIONS = {
  whitelist: true,
  forbidNonWhitelisted: true,
  forbidUnknownValues: false, // as Nest's ValidationPipe
  validationError: { target: true, value: true }, // needed to see that no message quotes the value; neither is sent
} as const;

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
  /** True when there is anything to check for a parameter: a body with a schema, or with a class that has rules. */
  applies({ type, schema, metatype }: ArgumentMetadata): boolean {
    return type === 'body' && (schema !== undefined || hasRules(metatype));
  }

  transform(value: unknown, metadata: ArgumentMetadata): unknown {
    if (!this.applies(metadata)) return value;
    const prefix = metadata.data ?? '';
    if (metadata.schema !== undefined) return validateSchema(value, metadata.schema, prefix);
    // A message without data is an empty one: the rules say what it lacks.
    return validateDto(value ?? {}, metadata.metatype as Dto, prefix); // because applies() has seen a class
  }
}

async function validateSchema(value: unknown, schema: Schema, prefix: string): Promise<unknown> {
  const result = await schema['~standard'].validate(value);
  if (result.issues === undefined) return result.value;
  throw failed(detailsOfIssues(result.issues, value, schema, prefix));
}

async function validateDto(value: unknown, dto: Dto, prefix: string): Promise<unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw failed([{ path: prefix, rule: 'isObject', message: 'must be an object' }]);
  }
  const instance = toInstance(dto, value, prefix);
  const errors = await validate(instance, VALIDATOR_OPTIONS);
  if (errors.length > 0) throw failed(detailsOfErrors(errors, prefix, MAX_DETAILS));
  const unseen = misfit(value, instance, prefix);
  if (unseen !== undefined) throw failed([unseen]);
  return instance;
}

/** class-transformer takes `constructor` for the class, also inside of objects without one, and stumbles over it. */
function toInstance(dto: Dto, value: object, prefix: string): object {
  try {
    return plainToInstance(dto, value);
  } catch (error) {
    if (!holdsConstructor(value)) throw error; // a @Transform() of the application's
    throw failed([{ path: prefix, ...UNKNOWN_PROPERTY }]);
  }
}

function holdsConstructor(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return Object.hasOwn(value, 'constructor') || Object.values(value).some(holdsConstructor);
}

function failed(details: readonly ErrorDetail[]): GatewayError {
  return new GatewayError('VALIDATION_FAILED', { details: details.slice(0, MAX_DETAILS) });
}

import { Injectable } from '@nestjs/common';
import type { ArgumentMetadata, PipeTransform } from '@nestjs/common';
import { plainToInstance } from 'class-transformer';
import type { ClassConstructor } from 'class-transformer';
import { getMetadataStorage, validate } from 'class-validator';
import type { ValidationError } from 'class-validator';
import { GatewayError } from '../protocol/errors.js';
import type { ErrorDetail } from '../protocol/errors.js';
import { detailsOfIssues } from './schema-issues.js';

/** Most details of one refusal: a long list of bad items must not become a longer answer. */
export const MAX_DETAILS = 50;

type Dto = ClassConstructor<object>;

// What a parameter's type says when it is no class of the application's.
const NO_DTO: ReadonlySet<unknown> = new Set([
  String,
  Number,
  Boolean,
  Array,
  Object,
  Buffer,
  Date,
  Promise,
  undefined,
  null,
]);

const VALIDATOR_OPTIONS = {
  whitelist: true,
  forbidNonWhitelisted: true,
  forbidUnknownValues: false, // as Nest's ValidationPipe: a class without rules has no rule to break
  validationError: { target: true, value: true }, // needed to see that no message quotes the value; neither is sent
} as const;

/**
 * Validates the body of a message: against the schema of `@MessageBody({ schema })` (Standard Schema), or against the
 * class-validator rules of the parameter's class. Unknown properties are refused, and what is passed on is an instance
 * of the class. Nothing that the client sent stands in the details, not even the name of an unknown property.
 *
 * @throws GatewayError VALIDATION_FAILED
 */
@Injectable()
export class WsValidationPipe implements PipeTransform {
  /** True when there is anything to check for a parameter: a body with a schema or a class. */
  applies(metadata: ArgumentMetadata): boolean {
    return metadata.type === 'body' && (metadata.schema !== undefined || !NO_DTO.has(metadata.metatype));
  }

  transform(value: unknown, metadata: ArgumentMetadata): unknown {
    if (!this.applies(metadata)) return value;
    // A message without data is an empty one: the rules say what it lacks.
    const prefix = metadata.data ?? '';
    if (metadata.schema !== undefined) return validateSchema(value, metadata.schema, prefix);
    return validateDto(value ?? {}, metadata.metatype as Dto, prefix); // because applies() has seen a class
  }
}

/** The name of an unknown property is what the client sent, so its parent is named, once. */
const UNKNOWN_PROPERTY = { rule: 'unknownProperty', message: 'has a property that is not allowed' } as const;

async function validateSchema(
  value: unknown,
  schema: NonNullable<ArgumentMetadata['schema']>,
  prefix: string,
): Promise<unknown> {
  const result = await schema['~standard'].validate(value);
  if (result.issues === undefined) return result.value;
  throw failed(detailsOfIssues(result.issues, value, schema, prefix));
}

async function validateDto(value: unknown, dto: Dto, prefix: string): Promise<unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw failed([{ path: prefix, rule: 'isObject', message: 'must be an object' }]);
  }
  // class-transformer drops it without a word, and class-validator would take it for the class.
  if (Object.hasOwn(value, 'constructor')) throw failed([{ path: prefix, ...UNKNOWN_PROPERTY }]);
  const instance = plainToInstance(dto, value);
  const errors = await validate(instance, VALIDATOR_OPTIONS);
  if (errors.length === 0) return instance;
  const details: ErrorDetail[] = [];
  collect(errors, prefix, details);
  throw failed(details);
}

function failed(details: readonly ErrorDetail[]): GatewayError {
  return new GatewayError('VALIDATION_FAILED', { details: details.slice(0, MAX_DETAILS) });
}

function collect(errors: readonly ValidationError[], parent: string, details: ErrorDetail[]): void {
  for (const error of errors) {
    if (details.length >= MAX_DETAILS) return;
    for (const [rule, message] of Object.entries(error.constraints ?? {})) {
      if (rule !== 'whitelistValidation') {
        details.push({ path: join(parent, error.property), rule, message: safeMessage(error, rule, message) });
      } else if (!details.some((detail) => detail.path === parent && detail.rule === 'unknownProperty')) {
        details.push({ path: parent, ...UNKNOWN_PROPERTY });
      }
    }
    collect(error.children ?? [], join(parent, error.property), details);
  }
}

function join(parent: string, property: string): string {
  return parent === '' ? property : `${parent}.${property}`;
}

/** A rule's own message may quote the value (`$value`, or a function of it); then it says no more than the rule. */
function safeMessage(error: ValidationError, rule: string, message: string): string {
  const value = error.value as unknown;
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
  if (text === '' || !message.includes(text) || !mayQuote(error)) return message;
  return `${error.property} does not fit ${rule}`;
}

function mayQuote({ target, property }: ValidationError): boolean {
  if (target === undefined) return true;
  const rules = getMetadataStorage().getTargetValidationMetadatas(target.constructor, '', false, false);
  return rules.some(
    ({ propertyName, message }) =>
      propertyName === property &&
      (typeof message === 'function' || (typeof message === 'string' && message.includes('$value'))),
  );
}

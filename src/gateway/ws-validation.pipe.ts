import { Injectable, Optional } from '@nestjs/common';
import type { ArgumentMetadata, PipeTransform } from '@nestjs/common';
import type { WsSession } from '../connection/session.js';
import { isDeliveryAsked } from '../email/context.js';
import { WsEmail } from '../email/ws-email.js';
import { hasRules } from './dto-rules.js';
import { dtoValidator, failed } from './dto-validator.js';
import type { DtoValidator } from './dto-validator.js';
import { detailsOfIssues } from './schema-issues.js';

/** The checked payload, or a promise of it. A rule that looks something up does it at the expense of the session. */
export type PayloadCheck = (value: unknown, session?: WsSession) => unknown;

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

  constructor(@Optional() private readonly email?: WsEmail) {}

  transform(value: unknown, metadata: ArgumentMetadata): unknown {
    const check = this.checkOf(metadata);
    return check === undefined ? value : check(value);
  }

  /** What a parameter is checked with, for whoever asks once and calls often; undefined when there is nothing to check. */
  checkOf({ type, schema, metatype, data: path = '' }: ArgumentMetadata): PayloadCheck | undefined {
    if (type !== 'body') return undefined;
    if (schema !== undefined) return (value) => validateSchema(value, schema, path);
    if (!hasRules(metatype)) return undefined;
    let validator = this.#validators.get(metatype);
    if (validator === undefined) this.#validators.set(metatype, (validator = dtoValidator(metatype)));
    const { validate, isCompiled } = validator;
    const { email } = this;
    // A message without data is an empty one: the rules say what it lacks.
    if (isCompiled || email === undefined) return (value) => validate(value ?? {}, path);
    return (value, session) =>
      isDeliveryAsked() ? email.run(() => validate(value ?? {}, path), session) : validate(value ?? {}, path);
  }
}

async function validateSchema(value: unknown, schema: Schema, path: string): Promise<unknown> {
  const result = await schema['~standard'].validate(value);
  if (result.issues === undefined) return result.value;
  throw failed(detailsOfIssues(result.issues, value, schema, path));
}

import { Injectable, Optional } from '@nestjs/common';
import type { ArgumentMetadata, PipeTransform } from '@nestjs/common';
import { WsSession } from '../session/ws-session.js';
import { WsSeal } from '../data-protection/ws-seal.js';
import { isDeliveryAsked } from '../email/context.js';
import { WsEmail } from '../email/ws-email.js';
import { hasRules } from '../validation/dto-rules.js';
import { dtoValidator, failed, MAX_DETAILS } from '../validation/dto-validator.js';
import type { DtoValidator } from '../validation/dto-validator.js';
import { detailsOfIssues } from '../validation/schema-issues.js';
import { fieldOpener } from '../validation/sealed-fields.js';
import type { OpenFields } from '../validation/sealed-fields.js';

/** Socket, data and event of a message, as handlers are given them. */
type Message = readonly unknown[];

/** The checked payload, or a promise of it. */
export type PayloadCheck = (value: unknown, message: Message) => unknown;

type Schema = NonNullable<ArgumentMetadata['schema']>;
type Dto = new () => object;

/**
 * Validates the body of a message: against the schema of `@MessageBody({ schema })` (Standard Schema), or against the
 * class-validator rules of the parameter's class. Unknown properties are refused, and what is passed on is an instance
 * of the class. Nothing that the client sent stands in the details, not even the name of an unknown property. A class
 * without any rule has none to break: its payload is passed on as it came.
 *
 * What is `@Sealed()` the module opens first, for the event and the subject of the message. A pipe knows neither:
 * put on a handler once more, this one takes what has been opened and refuses what has not.
 *
 * @throws GatewayError VALIDATION_FAILED
 */
@Injectable()
export class WsValidationPipe implements PipeTransform {
  readonly #validators = new WeakMap<object, DtoValidator<object>>();
  readonly #openers = new WeakMap<object, OpenFields | false>();

  constructor(
    @Optional() private readonly seal?: WsSeal,
    @Optional() private readonly email?: WsEmail,
  ) {}

  transform(value: unknown, { type, schema, metatype, data: path = '' }: ArgumentMetadata): unknown {
    if (type !== 'body') return value;
    if (schema !== undefined) return validateSchema(value, schema, path);
    return hasRules(metatype) ? this.#validationOf(metatype)(value ?? {}, path) : value;
  }

  /**
   * What a parameter is checked with, asked for once and called often; undefined when there is nothing to check.
   *
   * @throws Error for a class with a sealed property, when there are no keys to open it with
   */
  checkOf({ type, schema, metatype, data: path = '' }: ArgumentMetadata): PayloadCheck | undefined {
    if (type !== 'body') return undefined;
    if (schema !== undefined) return (value) => validateSchema(value, schema, path);
    if (!hasRules(metatype)) return undefined;
    const validate = this.#validationOf(metatype);
    const open = this.#openerOf(metatype);
    // A message without data is an empty one: the rules say what it lacks.
    if (open === false) return (value, [socket]) => validate(value ?? {}, path, socket as object); // because that is what a message comes from
    return async (value, [socket, , event]) => {
      const { principal } = WsSession.of(socket as object);
      const opened = await open(value ?? {}, { event: event as string, subject: principal?.subject }, path);
      return validate(opened, path, socket as object);
    };
  }

  /** A rule that asks the DNS does so at the expense of the session; only a class that is not compiled can have one. */
  #validationOf(dto: Dto): (value: unknown, path: string, socket?: object) => unknown {
    const { validate, isCompiled } = this.#validatorOf(dto);
    const { email } = this;
    if (isCompiled || email === undefined) return validate;
    return (value, path, socket) => {
      if (!isDeliveryAsked()) return validate(value, path);
      return email.run(() => validate(value, path), socket === undefined ? undefined : WsSession.of(socket));
    };
  }

  #validatorOf(dto: Dto): DtoValidator<object> {
    let validator = this.#validators.get(dto);
    if (validator === undefined) this.#validators.set(dto, (validator = dtoValidator(dto)));
    return validator;
  }

  #openerOf(dto: Dto): OpenFields | false {
    let opener = this.#openers.get(dto);
    if (opener === undefined) this.#openers.set(dto, (opener = fieldOpener(dto, this.seal) ?? false));
    return opener;
  }
}

async function validateSchema(value: unknown, schema: Schema, path: string): Promise<unknown> {
  const result = await schema['~standard'].validate(value);
  if (result.issues === undefined) return result.value;
  throw failed(detailsOfIssues(result.issues, value, schema, path, MAX_DETAILS));
}

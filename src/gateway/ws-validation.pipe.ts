import { HttpException, Injectable, Optional } from '@nestjs/common';
import type { ArgumentMetadata, PipeTransform } from '@nestjs/common';
import { WsException } from '@nestjs/websockets';
import { WsSession } from '../session/ws-session.js';
import { WsSeal } from '../data-protection/ws-seal.js';
import { isDeliveryAsked } from '../email/context.js';
import { WsEmail } from '../email/ws-email.js';
import { GatewayError } from '../protocol/errors.js';
import { hasRules } from '../validation/dto-rules.js';
import { dtoValidator, failed, MAX_DETAILS } from '../validation/dto-validator.js';
import type { DtoValidator, ValidationGroups } from '../validation/dto-validator.js';
import { detailsOfIssues } from '../validation/schema-issues.js';
import { fieldOpener } from '../validation/sealed-fields.js';
import type { OpenFields } from '../validation/sealed-fields.js';

/** Socket, data and event of a message, as handlers are given them. */
type Message = readonly unknown[];

/** The checked payload, or a promise of it. */
export type PayloadCheck = (value: unknown, message: Message) => unknown;

type Schema = NonNullable<ArgumentMetadata['schema']>;
type Dto = new () => object;

/** Which rules of its class a payload is checked with. */
export type WsValidationPipeOptions = ValidationGroups;

/** What a parameter's primitive type says: not null and not undefined, which its type does not tell apart. */
const PRIMITIVES = new Map<unknown, { type: string; rule: string; message: string }>([
  [String, { type: 'string', rule: 'isString', message: 'must be a string' }],
  [Number, { type: 'number', rule: 'isNumber', message: 'must be a number' }],
  [Boolean, { type: 'boolean', rule: 'isBoolean', message: 'must be a boolean' }],
]);

/**
 * Validates the body of a message: against the schema of `@MessageBody({ schema })` (Standard Schema), or against the
 * class-validator rules of the parameter's class. Unknown properties are refused, and what is passed on is an instance
 * of the class. Nothing that the client sent stands in the details, not even the name of an unknown property.
 *
 * It stands before every handler. Put on one, or on one of its parameters, it takes its own place there:
 * `@MessageBody(new WsValidationPipe({ groups: ['create'] }))`.
 *
 * What is `@Sealed()` the module opens first, for the event and the subject of the message. Outside of the module a pipe does
 * not know those: it takes what has been opened and refuses what has not.
 *
 * @throws GatewayError VALIDATION_FAILED
 */
@Injectable()
export class WsValidationPipe implements PipeTransform {
  readonly #validators = new WeakMap<object, DtoValidator<object>>();
  readonly #openers = new WeakMap<object, OpenFields | false>();

  constructor(
    @Optional() readonly options?: WsValidationPipeOptions,
    @Optional() private readonly seal?: WsSeal,
    @Optional() private readonly email?: WsEmail,
  ) {}

  transform(value: unknown, { type, schema, metatype, data: path = '' }: ArgumentMetadata): unknown {
    if (type !== 'body') return value;
    if (schema !== undefined) return validateSchema(value, schema, path);
    return hasRules(metatype) ? this.#validationOf(metatype, this.options)(value ?? {}, path) : value;
  }

  /**
   * What a parameter is checked with, for a caller that asks once and calls often; undefined when there is nothing to check.
   *
   * @param isAlone true where no pipe of the application may convert the value: then a primitive is of its type already
   * @throws Error for a class with a sealed property, when there are no keys to open it with
   */
  checkOf(
    { type, schema, metatype, data: path = '' }: ArgumentMetadata,
    isAlone = false,
    options = this.options,
  ): PayloadCheck | undefined {
    if (type !== 'body') return undefined;
    if (schema !== undefined) return (value) => validateSchema(value, schema, path);
    const primitive = isAlone ? PRIMITIVES.get(metatype) : undefined;
    if (primitive !== undefined) return (value) => demandType(value, primitive, path);
    if (!hasRules(metatype)) return undefined;
    const validate = this.#validationOf(metatype, options);
    const open = this.#openerOf(metatype);
    // A message without data is an empty one: the rules say what it lacks.
    if (open === false) return (value, [socket]) => validate(value ?? {}, path, socket as object); // because that is what a message comes from
    return async (value, message) => validate(await opened(open, value, message, path), path, message[0] as object); // because of the same
  }

  /**
   * What opens the sealed properties of a parameter that another pipe validates; undefined where it has none.
   *
   * @throws Error for a class with a sealed property, when there are no keys to open it with
   */
  openerOf({ type, metatype, data: path = '' }: ArgumentMetadata): PayloadCheck | undefined {
    if (type !== 'body' || !hasRules(metatype)) return undefined;
    const open = this.#openerOf(metatype);
    return open === false ? undefined : (value, message) => opened(open, value, message, path);
  }

  /** Runs a validation within which a rule that asks the DNS does so at the expense of the session. */
  within<T>(socket: object | undefined, validate: () => T): T {
    if (this.email === undefined || !isDeliveryAsked()) return validate();
    return this.email.run(validate, socket === undefined ? undefined : WsSession.of(socket));
  }

  /** Only a class that is not compiled can have a rule that asks the DNS. */
  #validationOf(
    dto: Dto,
    options?: WsValidationPipeOptions,
  ): (value: unknown, path: string, socket?: object) => unknown {
    const { validate, isCompiled } = this.#validatorOf(dto, options);
    return (value, path, socket) => {
      try {
        const checked = isCompiled ? validate(value, path) : this.within(socket, () => validate(value, path));
        if (!(checked instanceof Promise)) return checked;
        return checked.catch((error: unknown) => {
          throw unreadable(error, path);
        });
      } catch (error) {
        throw unreadable(error, path);
      }
    };
  }

  #validatorOf(dto: Dto, options: WsValidationPipeOptions | undefined): DtoValidator<object> {
    if (options !== undefined) return dtoValidator(dto, options); // for one handler, which keeps it
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

function opened(open: OpenFields, value: unknown, [socket, , event]: Message, path: string): Promise<unknown> {
  const { principal } = WsSession.of(socket as object); // because that is what a message comes from
  return open(value ?? {}, { event: event as string, subject: principal?.subject }, path); // because routes have one
}

function demandType(
  value: unknown,
  { type, ...refusal }: { type: string; rule: string; message: string },
  path: string,
) {
  if (value === undefined || value === null || typeof value === type) return value;
  throw failed([{ path, ...refusal }]);
}

/** All that is said of a payload on which a transform, a constructor or a rule throws: what it threw is for the log. */
const UNREADABLE = { rule: 'isReadable', message: 'cannot be read' } as const;

/**
 * What a validation threw, as VALIDATION_FAILED where it is no answer of its own: the client's value made a transform, a
 * constructor or a rule throw.
 */
export function unreadable(thrown: unknown, path: string): unknown {
  return isAnswer(thrown) ? thrown : failed([{ path, ...UNREADABLE }], thrown);
}

function isAnswer(thrown: unknown): boolean {
  try {
    return thrown instanceof GatewayError || thrown instanceof HttpException || thrown instanceof WsException;
  } catch {
    return false; // a trap of a Proxy threw
  }
}

async function validateSchema(value: unknown, schema: Schema, path: string): Promise<unknown> {
  const result = await validated(value, schema, path);
  if (result.issues === undefined) return result.value;
  throw failed(detailsOfIssues(result.issues, value, schema, path, MAX_DETAILS));
}

async function validated(value: unknown, schema: Schema, path: string) {
  try {
    return await schema['~standard'].validate(value);
  } catch (error) {
    throw unreadable(error, path);
  }
}

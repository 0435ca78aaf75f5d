import { plainToInstance } from 'class-transformer';
import type { ClassConstructor } from 'class-transformer';
import { validate } from 'class-validator';
import { GatewayError } from '../protocol/errors.js';
import type { ErrorDetail } from '../protocol/errors.js';
import { isJsonObject } from '../protocol/message.js';
import { acceptOf, REFUSED, Uncompilable } from './dto-compiler.js';
import type { Accept } from './dto-compiler.js';
import { misfit, UNKNOWN_PROPERTY } from './dto-rules.js';
import { partOf } from './payload-part.js';
import { detailsOfErrors } from './validation-details.js';

/** Most details of one refusal: a long list of bad items must not become a longer answer. */
export const MAX_DETAILS = 50;

const VALIDATOR_OPTIONS = {
  whitelist: true,
  forbidNonWhitelisted: true,
  forbidUnknownValues: false, // as Nest's ValidationPipe
  validationError: { target: true, value: true }, // needed to see that no message quotes the value; neither is sent
} as const;

/** Validates payloads against one class. */
export interface DtoValidator<T extends object> {
  /** Whether valid payloads take the compiled path. */
  readonly isCompiled: boolean;
  /** The first rule that keeps the class from being compiled, such as `@Expose()`. */
  readonly reason: string | undefined;
  /**
   * The instance for a payload: at once on the compiled path, as a promise otherwise. The verdict is that of
   * class-validator with `whitelist` and `forbidNonWhitelisted`, and what is made of the payload that of class-transformer.
   *
   * @param path where the payload stands, for the details of a refusal
   * @throws GatewayError VALIDATION_FAILED, or rejects with it
   */
  validate(payload: unknown, path?: string): T | Promise<T>;
}

/**
 * A validator for a class with rules of class-validator, compiled where it can be. It works without the rest of this
 * package.
 *
 * @example
 * const validator = dtoValidator(OrderDto);
 * const order = await validator.validate(JSON.parse(text));
 */
export function dtoValidator<T extends object>(dto: ClassConstructor<T>): DtoValidator<T> {
  let accept: Accept | undefined;
  let reason: string | undefined;
  try {
    accept = acceptOf(dto);
  } catch (error) {
    if (!(error instanceof Uncompilable)) throw error;
    reason = error.message;
  }
  return {
    isCompiled: accept !== undefined,
    reason,
    validate(payload, path = '') {
      if (accept !== undefined && isJsonObject(payload)) {
        const instance = acceptedBy(accept, payload, path);
        if (instance !== REFUSED) return instance as T; // because accept() makes instances of this class
      }
      return validateSlowly(payload, dto, path, accept !== undefined);
    },
  };
}

/** async, since class-validator throws at once what a rule throws. */
async function errorsOf(instance: object): ReturnType<typeof validate> {
  return validate(instance, VALIDATOR_OPTIONS);
}

function acceptedBy(accept: Accept, payload: object, path: string): ReturnType<Accept> {
  try {
    return accept(payload);
  } catch (error) {
    throw blamed(error, payload, path);
  }
}

/** `isEmail` and `isByteLength` encode what they are given, and throw where half a surrogate pair cannot be. */
function blamed(error: unknown, payload: object, path: string): unknown {
  if (!(error instanceof URIError) || !holdsHalfPair(payload)) return error;
  return failed([{ path, rule: 'isWellFormed', message: 'must be well-formed Unicode' }]);
}

function holdsHalfPair(value: unknown): boolean {
  if (typeof value === 'string') return /\p{Surrogate}/u.test(value); // with `u`, whole pairs are none
  return typeof value === 'object' && value !== null && Object.values(value).some(holdsHalfPair);
}

/** What class-transformer and class-validator say, with the words for a refusal. */
async function validateSlowly<T extends object>(
  payload: unknown,
  dto: ClassConstructor<T>,
  path: string,
  isRefused: boolean,
): Promise<T> {
  if (!isJsonObject(payload)) {
    throw failed([{ path, rule: 'isObject', message: 'must be an object' }]);
  }
  const found = await detailsOfPart(payload, dto, path, isRefused);
  if (found.length > 0) throw failed(found);
  const instance = toInstance(dto, payload, path);
  const errors = await errorsOf(instance).catch((error: unknown) => {
    throw blamed(error, payload, path);
  });
  if (errors.length > 0) throw failed(detailsOfErrors(errors, path, MAX_DETAILS));
  const unseen = misfit(payload, instance, path);
  if (unseen !== undefined) throw failed([unseen]);
  return instance;
}

/** The details of a large payload that is refused, as far as a part of it shows them; empty when it does not. */
async function detailsOfPart(
  payload: object,
  dto: ClassConstructor<object>,
  path: string,
  isRefused: boolean,
): Promise<ErrorDetail[]> {
  const part = partOf(dto, payload, isRefused, MAX_DETAILS);
  if (part === undefined) return [];
  const instance = toInstance(dto, part.plain, path);
  part.restore(instance);
  const errors = await errorsOf(instance).catch((error: unknown) => {
    throw blamed(error, payload, path);
  });
  return detailsOfErrors(part.keepSound(errors), path, MAX_DETAILS);
}

/** class-transformer takes `constructor` for the class and calls `toString`, also where a client has put them. */
function toInstance<T extends object>(dto: ClassConstructor<T>, payload: object, path: string): T {
  try {
    return plainToInstance(dto, payload);
  } catch (error) {
    if (!holdsMemberOfObject(payload)) throw error; // a @Transform() of the application's
    throw failed([{ path, ...UNKNOWN_PROPERTY }]);
  }
}

function holdsMemberOfObject(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return Object.keys(value).some((key) => key in Object.prototype) || Object.values(value).some(holdsMemberOfObject);
}

export function failed(details: readonly ErrorDetail[]): GatewayError {
  return new GatewayError('VALIDATION_FAILED', { details: details.slice(0, MAX_DETAILS) });
}

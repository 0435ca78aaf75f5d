import { plainToInstance } from 'class-transformer';
import type { ClassConstructor } from 'class-transformer';
import { validate } from 'class-validator';
import type { ValidationError } from 'class-validator';
import { GatewayError } from '../protocol/errors.js';
import type { ErrorDetail } from '../protocol/errors.js';
import { isJsonObject } from '../protocol/message.js';
import { acceptOf, REFUSED, takeVerdicts, Uncompilable } from './dto-compiler.js';
import type { Accept, Verdict } from './dto-compiler.js';
import { collectPromises, fence } from './dto-fence.js';
import { ofClient } from './sent-properties.js';
import { isSensitive } from '../data-protection/sensitive.js';
import { join, misfit, SENSITIVE, UNKNOWN_PROPERTY } from './dto-rules.js';
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

/** Which rules of a class count, as class-validator's options of the same names. Classes are not compiled then. */
export interface ValidationGroups {
  /** Rules of these groups, and those that are `always`. @default all rules */
  readonly groups?: readonly string[];
  /** Rules without a group count as well. @default false */
  readonly always?: boolean;
  /** Without `groups`: rules that have some do not count. @default false */
  readonly strictGroups?: boolean;
}

/**
 * A validator for a class with rules of class-validator, compiled where it can be. It works without the rest of this
 * package.
 *
 * @example
 * const validator = dtoValidator(OrderDto);
 * const order = await validator.validate(JSON.parse(text));
 */
export function dtoValidator<T extends object>(dto: ClassConstructor<T>, groups?: ValidationGroups): DtoValidator<T> {
  fence(dto);
  const { accept, reason } = groups === undefined ? compiledOf(dto) : { accept: undefined, reason: 'it has groups' };
  return {
    isCompiled: accept !== undefined,
    reason,
    validate(payload, path = '') {
      if (accept === undefined || !isJsonObject(payload))
        return new Slow(dto, payload, path, groups).instance('unknown');
      const instance = acceptedBy(accept, payload, path) as T | typeof REFUSED; // because accept() makes instances of this class
      const verdicts = takeVerdicts();
      if (instance === REFUSED)
        return new Slow(dto, payload, path).instance(verdicts === undefined ? 'refused' : 'waits');
      return verdicts === undefined ? instance : awaited(instance, verdicts.promised, path);
    },
  };
}

function compiledOf(dto: ClassConstructor<object>): { accept?: Accept; reason?: string } {
  try {
    return { accept: acceptOf(dto) };
  } catch (error) {
    if (!(error instanceof Uncompilable)) throw error;
    return { reason: error.message };
  }
}

function acceptedBy(accept: Accept, payload: object, path: string): ReturnType<Accept> {
  try {
    return accept(payload);
  } catch (error) {
    takeVerdicts();
    throw blamed(error, payload, path);
  }
}

/** The instance, when the rules that turned out to be asynchronous have accepted, too. */
async function awaited<T extends object>(instance: T, verdicts: readonly Verdict[], path: string): Promise<T> {
  const refused: ErrorDetail[] = [];
  for (const { object, property, rule, accepted } of verdicts) {
    const isValid = await Promise.resolve(accepted).catch((error: unknown) => {
      throw blamed(error, undefined, path);
    });
    if (isValid) continue;
    const at = object === instance ? join(path, property) : path;
    refused.push(isSensitive(object, property) ? { path, ...SENSITIVE } : { path: at, rule, message: UNFIT });
  }
  if (refused.length > 0) throw failed(refused);
  return instance;
}

const UNFIT = 'is not valid';

/** What an error of a transform, a constructor or a rule says of the payload, where the payload alone is to blame. */
function blamed(error: unknown, payload: unknown, path: string): unknown {
  if (!isEncodingError(error, payload)) return error;
  return failed([{ path, rule: 'isWellFormed', message: 'must be well-formed Unicode' }]);
}

/** `isEmail` and `isByteLength` encode what they are given, and throw where half a surrogate pair cannot be. */
function isEncodingError(error: unknown, payload: unknown): boolean {
  return error instanceof URIError && holdsHalfPair(payload);
}

function holdsHalfPair(value: unknown): boolean {
  if (typeof value === 'string') return /\p{Surrogate}/u.test(value); // with `u`, whole pairs are none
  return typeof value === 'object' && value !== null && Object.values(value).some(holdsHalfPair);
}

/** What class-transformer and class-validator say, with the words for a refusal. */
class Slow<T extends object> {
  constructor(
    private readonly dto: ClassConstructor<T>,
    private readonly payload: unknown,
    private readonly path: string,
    private readonly groups?: ValidationGroups,
  ) {}

  /** @param verdict of the compiled path: `waits` where a rule has to be waited for, and has perhaps been asked already */
  async instance(verdict: 'refused' | 'unknown' | 'waits'): Promise<T> {
    const { payload, path } = this;
    if (!isJsonObject(payload)) throw failed([{ path, rule: 'isObject', message: 'must be an object' }]);
    const isShownInPart = this.groups === undefined && verdict !== 'waits';
    const found = isShownInPart ? await this.#detailsOfPart(payload, verdict === 'refused') : [];
    if (found.length > 0) throw failed(found);
    const { made, promises } = this.#make(payload);
    const errors = await this.#errorsOf(made, payload);
    if (errors.length > 0) throw failed(detailsOfErrors(errors, path, MAX_DETAILS));
    const unseen = misfit(payload, made, path);
    if (unseen !== undefined) throw failed([unseen]);
    await this.#settled(promises);
    return made;
  }

  /** The details of a large payload that is refused, as far as a part of it shows them; empty when it does not. */
  async #detailsOfPart(payload: object, isRefused: boolean): Promise<ErrorDetail[]> {
    const part = partOf(this.dto, payload, isRefused, MAX_DETAILS);
    if (part === undefined) return [];
    const { made } = this.#make(part.plain);
    part.restore(made);
    const errors = await this.#errorsOf(made, payload);
    return detailsOfErrors(part.keepSound(errors), this.path, MAX_DETAILS);
  }

  /** class-transformer takes `constructor` for the class and calls `toString`, also where a client has put them. */
  #make(plain: object): { made: T; promises: readonly PromiseLike<unknown>[] } {
    const { dto, path } = this;
    const groups = this.groups?.groups;
    try {
      return collectPromises(() =>
        plainToInstance(dto, plain, groups === undefined ? undefined : { groups: [...groups] }),
      );
    } catch (error) {
      if (!holdsMemberOfObject(plain)) throw blamed(error, this.payload, path); // a @Transform() of the application's
      throw failed([{ path, ...UNKNOWN_PROPERTY }]);
    }
  }

  /** async, since class-validator throws at once what a rule throws. */
  async #errorsOf(instance: object, payload: object): Promise<ValidationError[]> {
    const { groups = {} } = this;
    const options = { ...VALIDATOR_OPTIONS, ...groups, groups: groups.groups && [...groups.groups] };
    try {
      return ofClient(await validate(instance, options), payload);
    } catch (error) {
      throw blamed(error, payload, this.path);
    }
  }

  /** What transforms have promised: class-transformer puts it into the instance as it is, so a rejection would reach the handler. */
  async #settled(promises: readonly PromiseLike<unknown>[]): Promise<void> {
    try {
      await Promise.all(promises);
    } catch (error) {
      throw blamed(error, this.payload, this.path);
    }
  }
}

function holdsMemberOfObject(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return Object.keys(value).some((key) => key in Object.prototype) || Object.values(value).some(holdsMemberOfObject);
}

/** @param cause for the log */
export function failed(details: readonly ErrorDetail[], cause?: unknown): GatewayError {
  return new GatewayError('VALIDATION_FAILED', { details: details.slice(0, MAX_DETAILS), cause });
}

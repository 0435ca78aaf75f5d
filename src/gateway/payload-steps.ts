import { HttpException, ValidationPipe } from '@nestjs/common';
import type { ArgumentMetadata, PipeTransform } from '@nestjs/common';
import { WsException } from '@nestjs/websockets';
import type { ValidationError } from 'class-validator';
import { contain } from '../base/contain.js';
import { isThenable } from '../base/thenable.js';
import { GatewayError } from '../protocol/errors.js';
import { explain } from '../session/failure.js';
import { fence } from '../validation/dto-fence.js';
import { failed, MAX_DETAILS } from '../validation/dto-validator.js';
import { detailsOfErrors } from '../validation/validation-details.js';
import { unreadable, WsValidationPipe } from './ws-validation.pipe.js';

/** What handlers are given: socket, data and event of a message. */
export type Given = readonly unknown[];

/** Something that a parameter's value goes through between the message and the handler. */
export type Step = (value: unknown, given: Given) => unknown;

/**
 * What converts and checks a parameter, each once. Without a validating pipe of the application's that is the pipe of this
 * package, which comes first. A ValidationPipe takes its place, and so does a WsValidationPipe that is put on the parameter, its
 * method or class: the innermost of the two kinds is meant. All others run as in Nest.
 *
 * @param pipes the application's, in Nest's order: global, gateway, method, parameter
 * @param own the pipe of this package
 */
export function stepsOf(metadata: ArgumentMetadata, pipes: readonly PipeTransform[], own: WsValidationPipe): Step[] {
  const last = (type: typeof ValidationPipe | typeof WsValidationPipe): number =>
    pipes.findLastIndex((pipe) => pipe instanceof type);
  const [foreign, ours] = [last(ValidationPipe), last(WsValidationPipe)];
  const steps: (Step | undefined)[] = [];
  if (Math.max(foreign, ours) < 0) steps.push(own.checkOf(metadata, pipes.length === 0));
  else if (foreign > ours) steps.push(own.openerOf(metadata));
  for (const [index, pipe] of pipes.entries()) {
    if (pipe instanceof WsValidationPipe) {
      if (index === ours && ours > foreign) steps.push(checkBy(pipe, metadata, own));
    } else if (pipe instanceof ValidationPipe) {
      if (foreign > ours) steps.push(validating(pipe, metadata, own));
    } else steps.push((value) => pipe.transform(value, { ...metadata }));
  }
  return steps.filter((step) => step !== undefined);
}

/** A subclass that has its own way with a payload has it; the class itself is given what the module's own has. */
function checkBy(pipe: WsValidationPipe, metadata: ArgumentMetadata, own: WsValidationPipe): Step | undefined {
  if (pipe.transform === WsValidationPipe.prototype.transform) return own.checkOf(metadata, false, pipe.options);
  return (value) => pipe.transform(value, { ...metadata });
}

/** A ValidationPipe, with its options. What it refuses is VALIDATION_FAILED with details, whatever it throws. */
function validating(pipe: ValidationPipe, metadata: ArgumentMetadata, own: WsValidationPipe): Step {
  const { expectedType, isDetailedOutputDisabled } = pipe as unknown as PipeState; // because they are protected
  const dto = expectedType ?? metadata.metatype;
  const errorsOf = watch(pipe as unknown as PipeState);
  fence(dto);
  const refused = (thrown: unknown): unknown => {
    const errors = errorsOf.get(thrown);
    if (errors === undefined) return unreadable(thrown, metadata.data ?? '');
    const hidden = isDetailedOutputDisabled === true;
    return refusalOf(thrown, hidden ? undefined : detailsOfErrors(errors, metadata.data ?? '', MAX_DETAILS, dto));
  };
  return (value, [socket]) => {
    try {
      const result = own.within(socket as object, () => pipe.transform(value, { ...metadata })); // because that is what a message comes from
      if (!isThenable(result)) return result;
      return Promise.resolve(result).then(undefined, (thrown: unknown) => {
        throw refused(thrown);
      });
    } catch (thrown) {
      throw refused(thrown);
    }
  };
}

/** What is read and replaced of Nest's pipe. */
interface PipeState {
  readonly expectedType?: ArgumentMetadata['metatype'];
  readonly isDetailedOutputDisabled?: boolean;
  exceptionFactory: (errors: ValidationError[]) => unknown;
}

type ErrorsOf = Pick<Map<unknown, readonly ValidationError[]>, 'get'>;

const watched = new WeakMap<object, ErrorsOf>();

/**
 * What a pipe has found, by what its factory made of it. The factory stays the application's, and so does what filters and
 * HTTP controllers see of it.
 */
function watch(pipe: PipeState): ErrorsOf {
  const known = watched.get(pipe);
  if (known !== undefined) return known;
  const found = new Exceptions();
  watched.set(pipe, found);
  const make = pipe.exceptionFactory;
  const watching = (errors: ValidationError[]): unknown => {
    const made = make.call(pipe, errors);
    if (isThenable(made)) return Promise.resolve(made).then((settled) => found.set(settled, errors));
    return found.set(made, errors);
  };
  contain(
    () => (pipe.exceptionFactory = watching),
    () => undefined,
  ); // a frozen pipe keeps its words, without details
  return found;
}

class Exceptions implements ErrorsOf {
  readonly #errors = new WeakMap<object, readonly ValidationError[]>();

  get(thrown: unknown): readonly ValidationError[] | undefined {
    return typeof thrown === 'object' && thrown !== null ? this.#errors.get(thrown) : undefined;
  }

  /** @returns what is thrown: what is no object becomes one, which can be told from others */
  set(made: unknown, errors: readonly ValidationError[]): object {
    const thrown = typeof made === 'object' && made !== null ? made : new WsException(String(made));
    this.#errors.set(thrown, errors);
    return thrown;
  }
}

/** The exception as filters see it, and what it is where none takes it. One with a code of its own keeps it. */
function refusalOf(thrown: unknown, details: ReturnType<typeof detailsOfErrors> | undefined): unknown {
  if (thrown instanceof GatewayError) return thrown;
  const message = wordsOf(thrown);
  if (message === undefined && details === undefined) return failed([{ path: '', ...HIDDEN }], thrown);
  explain(thrown as object, { code: 'VALIDATION_FAILED', message, details: details ?? [{ path: '', ...HIDDEN }] }); // because it was found in a WeakMap
  return thrown;
}

const HIDDEN = { rule: 'badRequest', message: 'The payload is not valid' } as const;

/** What the application says instead of Nest's list of sentences, which may quote the payload. */
function wordsOf(thrown: unknown): string | undefined {
  const said: unknown =
    thrown instanceof WsException
      ? thrown.getError()
      : thrown instanceof HttpException
        ? thrown.getResponse()
        : undefined;
  const message = typeof said === 'object' && said !== null ? (said as { message?: unknown }).message : said;
  return typeof message === 'string' ? message : undefined;
}

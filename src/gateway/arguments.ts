import { containResult } from '../base/contain.js';
import { isThenable } from '../base/thenable.js';
import type { InboundMessage } from '../protocol/message.js';
import type { Session } from '../session/session.js';
import type { Handler } from './handler.js';
import type { Parameter } from './parameters.js';
import type { Given } from './payload-steps.js';
import { authorize } from './rules.js';

/**
 * What a handler is called with: each parameter read, converted and checked. A promise only where one of them returns one.
 *
 * @throws what a step throws, also as a rejection; of several the first
 */
export function argumentsOf({ parameters, argumentCount }: Handler, given: Given): unknown[] | Promise<unknown[]> {
  const args: unknown[] = [];
  for (let index = 0; index < argumentCount; index++) args.push(undefined);
  let waiting: Promise<unknown>[] | undefined;
  try {
    for (const parameter of parameters) {
      const { index } = parameter;
      const value = valueOf(parameter, given);
      if (parameter.mayWait && isThenable(value)) {
        (waiting ??= []).push(Promise.resolve(value).then((settled) => (args[index] = settled)));
      } else args[index] = value;
    }
  } catch (error) {
    for (const other of waiting ?? []) containResult(other, () => undefined); // this parameter's error is the answer
    throw error;
  }
  return waiting === undefined ? args : Promise.all(waiting).then(() => args);
}

function valueOf(parameter: Parameter, given: Given): unknown {
  const value = parameter.read(given);
  // As in Nest, what a parameter decorator of the application promises is waited for.
  if (parameter.plain || !isThenable(value)) return stepped(parameter, value, given, 0);
  return Promise.resolve(value).then((settled) => stepped(parameter, settled, given, 0));
}

function stepped(parameter: Parameter, value: unknown, given: Given, first: number): unknown {
  const { steps } = parameter;
  let result = value;
  for (let index = first; index < steps.length; index++) {
    if (index > 0 && isThenable(result)) {
      return Promise.resolve(result).then((settled) => stepped(parameter, settled, given, index));
    }
    result = steps[index]?.(result, given);
  }
  return result;
}

/** The whole payload as the handler gets it; as it came where it takes no whole one. */
export function bodyOf({ parameters }: Handler, args: readonly unknown[], message: InboundMessage): unknown {
  const body = parameters.find(({ isBody }) => isBody);
  return body === undefined ? message.data : args[body.index];
}

/** Asks the rules of a handler about the arguments that it will be called with. */
export function askRules(
  handler: Handler,
  session: Session,
  message: InboundMessage,
  args: readonly unknown[],
): void | Promise<void> {
  return authorize(handler.rules, session, bodyOf(handler, args, message));
}

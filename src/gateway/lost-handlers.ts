import { types } from 'node:util';
import type { Type } from '@nestjs/common';
import { MetadataScanner } from '@nestjs/core';
import { MESSAGE_MAPPING_METADATA, PARAM_ARGS_METADATA } from '@nestjs/websockets/internal';
import {
  BINARY_METADATA,
  PUBLIC_METADATA,
  RATE_LIMIT_METADATA,
  ROLES_METADATA,
  RULES_METADATA,
  SCOPES_METADATA,
} from './decorators.js';

/** Methods of a gateway that look like handlers, and are none. */
export interface LostHandlers {
  /** Another function has the place of a method that has decorators of handlers. */
  readonly replaced: readonly string[];
  /** Either a function has been replaced, or a decorator has no effect: it takes a person to say whether that is meant. */
  readonly doubtful: readonly string[];
}

/** Decorators that write at the method's name, where they stay when another function takes the method's place. */
const MARKS: readonly (readonly [key: string, decorator: string])[] = [
  [PUBLIC_METADATA, '@Public()'],
  [ROLES_METADATA, '@Roles()'],
  [SCOPES_METADATA, '@Scopes()'],
  [RULES_METADATA, '@Authorize()'],
  [RATE_LIMIT_METADATA, '@RateLimit()'],
];

/** What Nest calls without a decorator. */
const HOOKS: ReadonlySet<string> = new Set([
  'afterInit',
  'handleConnection',
  'handleDisconnect',
  'onModuleInit',
  'onApplicationBootstrap',
  'onModuleDestroy',
  'beforeApplicationShutdown',
  'onApplicationShutdown',
]);

/** Written at the methods of a class that is a controller as well, whose parameters have the same decorators. */
const OTHER_HANDLERS = ['method', 'microservices:pattern'];

/**
 * `@SubscribeMessage()` writes at the function that it finds. A decorator above it that puts another function in the method's
 * place takes the handler away, and no code can see what was written at the first one. What can be seen is that the function
 * is another, and which decorators have written at the method's name.
 */
export function lostHandlersOf({ prototype, name: gateway }: Type): LostHandlers {
  const replaced: string[] = [];
  const doubtful: string[] = [];
  for (const name of new MetadataScanner().getAllMethodNames(prototype as object)) {
    const declaring = declaringOf(prototype as object, name);
    const method = declaring[name] as Method; // because the scanner names methods alone
    if (HOOKS.has(name) || isHandler(declaring, name, method)) continue;
    const isReplaced = isAnotherFunction(declaring, name, method);
    const marks = marksOf(declaring, name);
    const said = `${gateway}.${name}${marks.length === 0 ? '' : ` (${marks.join(', ')})`}`;
    if (isReplaced && marks.length > 0) replaced.push(said);
    else if (isReplaced || marks.length > 0) doubtful.push(said);
  }
  return { replaced, doubtful };
}

type Method = (...args: unknown[]) => unknown;
type Methods = Record<string, unknown>;

/** The event of a `@SubscribeBinary()` method: it is written at the method's name as well, so no other decorator takes it away. */
export function binaryEventOf(prototype: object, name: string): unknown {
  const declaring = declaringOf(prototype, name);
  const atFunction: unknown = Reflect.getMetadata(BINARY_METADATA, declaring[name] as Method);
  return atFunction ?? Reflect.getOwnMetadata(BINARY_METADATA, declaring, name);
}

function isHandler(declaring: Methods, name: string, method: Method): boolean {
  const keys = [MESSAGE_MAPPING_METADATA, ...OTHER_HANDLERS];
  return keys.some((key) => Reflect.hasMetadata(key, method)) || binaryEventOf(declaring, name) !== undefined;
}

/** The prototype that has the method: the gateway's, or that of one of its bases. */
function declaringOf(prototype: object, name: string): Methods {
  let declaring = prototype;
  while (!Object.hasOwn(declaring, name)) declaring = Object.getPrototypeOf(declaring) as object; // because the name was found there
  return declaring as Methods;
}

/** True where a decorator has put another function, or a Proxy, in the place of the method. */
function isAnotherFunction(declaring: Methods, name: string, method: Method): boolean {
  const hasDecorators = Reflect.hasOwnMetadata('design:type', declaring, name);
  return hasDecorators && (types.isProxy(method) || method.name !== name);
}

function marksOf(declaring: Methods, name: string): string[] {
  const hasParameters = Reflect.hasOwnMetadata(PARAM_ARGS_METADATA, declaring.constructor, name);
  const marks = MARKS.filter(([key]) => Reflect.hasOwnMetadata(key, declaring, name)).map(([, mark]) => mark);
  return hasParameters ? [...marks, 'decorated parameters'] : marks;
}

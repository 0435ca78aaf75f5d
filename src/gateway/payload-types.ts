import { StandardSchemaValidationPipe, ValidationPipe } from '@nestjs/common';
import type { ArgumentMetadata } from '@nestjs/common';
import { PIPES_METADATA } from '@nestjs/common/internal';
import { hasRules } from '../validation/dto-rules.js';
import { bodiesOf } from './parameters.js';
import type { Body } from './parameters.js';
import { WsValidationPipe } from './ws-validation.pipe.js';

/** The gateway and handler, and the pipes of the application that reach all handlers. */
interface Place {
  readonly gateway: object;
  readonly name: string;
  /** The gateway's class. */
  readonly type: object;
  readonly globalPipes: readonly unknown[];
}

const PRIMITIVES: ReadonlySet<unknown> = new Set([String, Number, Boolean]);

/**
 * Whether a handler takes a payload that is checked by nothing: its type is lost at run time, as that of an array, a union, an
 * interface or `any`, or a class without rules, and neither a schema nor a pipe says more.
 *
 * @throws Error where the build has left out the types that its payloads are checked by
 */
export function takesUncheckedBody({ gateway, name, type, globalPipes }: Place): boolean {
  const method = (gateway as Record<string, object>)[name] as object; // because it is a handler
  const around = [...globalPipes, ...pipesOf(type), ...pipesOf(method)];
  const unknown = bodiesOf(gateway, name).filter((body) => !saysMore(body, [...around, ...body.pipes]));
  if (unknown.length > 0 && Reflect.getMetadata('design:paramtypes', gateway, name) === undefined) {
    throw new Error(
      `${(type as { name?: string }).name}.${name}: the build has left out the type of its payload, so nothing would check it: ` +
        'compile with "emitDecoratorMetadata", by tsc, the Nest CLI or swc; esbuild and tsx cannot',
    );
  }
  return unknown.some(({ metatype }) => !PRIMITIVES.has(metatype) && !hasRules(metatype));
}

function saysMore({ schema }: Body, pipes: readonly unknown[]): boolean {
  return schema !== undefined || pipes.some((pipe) => !isByType(pipe));
}

/** True for a pipe that checks by the parameter's type, or by its schema, and so nothing where there is none. */
function isByType(pipe: unknown): boolean {
  const kinds = [ValidationPipe, WsValidationPipe, StandardSchemaValidationPipe];
  const isOne = kinds.some((kind) => pipe instanceof kind || pipe === kind || isSubclass(pipe, kind));
  const { expectedType } = pipe as { expectedType?: ArgumentMetadata['metatype'] }; // because a ValidationPipe may have it
  return isOne && !hasRules(expectedType);
}

function isSubclass(pipe: unknown, kind: NewableFunction): boolean {
  return typeof pipe === 'function' && pipe.prototype instanceof kind;
}

function pipesOf(target: object): unknown[] {
  return (Reflect.getMetadata(PIPES_METADATA, target) ?? []) as unknown[]; // because @UsePipes() puts a list there
}

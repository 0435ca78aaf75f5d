import type { IncomingMessage, ServerResponse } from 'node:http';
import { Catch, HttpException } from '@nestjs/common';
import type { ArgumentsHost, ExceptionFilter } from '@nestjs/common';
import { Doorkeeper } from '../../connection/doorkeeper.js';
import { GatewayError, specOf } from '../../protocol/errors.js';

/** What Express knows of a request that it has found a route for. */
interface RoutedRequest extends IncomingMessage {
  readonly route?: { readonly path?: unknown };
}

const CODE_OF: Readonly<Record<number, string>> = {
  400: 'VALIDATION_FAILED',
  404: 'NOT_FOUND',
  413: 'MESSAGE_TOO_BIG',
};

/** The service's HTTP answers have the same shape as a refused upgrade: `{"code","message"}`. */
@Catch()
export class HttpExceptionFilter implements ExceptionFilter {
  constructor(private readonly doorkeeper: Doorkeeper) {}

  catch(exception: unknown, host: ArgumentsHost): void {
    const request = host.switchToHttp().getRequest<RoutedRequest>();
    const response = host.switchToHttp().getResponse<ServerResponse>();
    const { error, status } = failureOf(exception);
    this.doorkeeper.refuse(request, response, error, { status, route: routeOf(request) });
  }
}

function failureOf(exception: unknown): { error: GatewayError; status: number } {
  if (exception instanceof GatewayError) {
    const { http, status } = specOf(exception.code);
    return { error: exception, status: http ?? status ?? 400 };
  }
  // What the parser of the body throws is no HttpException and has a status as well.
  const status = exception instanceof HttpException ? exception.getStatus() : statusOf(exception);
  const code = status >= 500 ? 'INTERNAL' : (CODE_OF[status] ?? 'APPLICATION_ERROR');
  // In its own words: what a parser says may quote the body.
  return { error: new GatewayError(code, status >= 500 ? { cause: exception } : {}), status };
}

function statusOf(exception: unknown): number {
  const { status } = (exception ?? {}) as { status?: unknown };
  return typeof status === 'number' && status >= 400 && status < 500 ? status : 500;
}

/** As it is declared; undefined where no route was found. */
function routeOf({ method, route }: RoutedRequest): string | undefined {
  return typeof route?.path === 'string' ? `${method} ${route.path}` : undefined;
}

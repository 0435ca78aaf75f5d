import { Catch, HttpException, Logger } from '@nestjs/common';
import type { ArgumentsHost, ExceptionFilter } from '@nestjs/common';
import { GatewayError, specOf } from '../protocol/errors.js';

interface Response {
  status(code: number): Response;
  header(name: string, value: string): Response;
  json(body: unknown): unknown;
}

/** Codes that the catalogue gives no status, since they come after an upgrade. */
const STATUS_OF: Readonly<Record<string, number>> = { VALIDATION_FAILED: 400, CONFLICT: 409, SESSION_REVOKED: 401, INTERNAL: 500 };

const CODE_OF: Readonly<Record<number, string>> = {
  400: 'VALIDATION_FAILED',
  404: 'NOT_FOUND',
  413: 'MESSAGE_TOO_BIG',
};

/** The service's HTTP answers have the same shape as a refused upgrade: `{"code","message"}`. */
@Catch()
export class HttpExceptionFilter implements ExceptionFilter {
  readonly #logger = new Logger('Http');

  catch(exception: unknown, host: ArgumentsHost): void {
    const { status, code, message } = this.#answerOf(exception);
    const response = host.switchToHttp().getResponse<Response>().status(status);
    if (status === 401) response.header('WWW-Authenticate', 'Bearer'); // RFC 6750 §3
    if (status === 503) response.header('Retry-After', '5');
    response.json({ code, message });
  }

  #answerOf(exception: unknown): { status: number; code: string; message: string } {
    if (exception instanceof GatewayError) {
      const { code, message } = exception;
      return { status: STATUS_OF[code] ?? specOf(code).status ?? 400, code, message };
    }
    // What the parser of the body throws is no HttpException and has a status as well.
    const status = exception instanceof HttpException ? exception.getStatus() : statusOf(exception);
    if (status >= 500) this.#logger.error(exception);
    const { code, message } = new GatewayError(status >= 500 ? 'INTERNAL' : (CODE_OF[status] ?? 'APPLICATION_ERROR'));
    return { status, code, message };
  }
}

function statusOf(exception: unknown): number {
  const { status } = (exception ?? {}) as { status?: unknown };
  return typeof status === 'number' && status >= 400 && status < 500 ? status : 500;
}

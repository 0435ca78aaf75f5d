import { Catch, HttpException, Logger } from '@nestjs/common';
import type { ArgumentsHost, ExceptionFilter } from '@nestjs/common';
import { GatewayError } from '../protocol/errors.js';

interface Response {
  status(code: number): { json(body: unknown): unknown };
}

/** The service's HTTP answers have the same shape as a refused upgrade: `{"code","message"}`. */
@Catch()
export class HttpExceptionFilter implements ExceptionFilter {
  readonly #logger = new Logger('Http');

  catch(exception: unknown, host: ArgumentsHost): void {
    const status = exception instanceof HttpException ? exception.getStatus() : 500;
    if (status >= 500) this.#logger.error(exception);
    const { code, message } = new GatewayError(
      status === 404 ? 'NOT_FOUND' : status < 500 ? 'APPLICATION_ERROR' : 'INTERNAL',
    );
    host.switchToHttp().getResponse<Response>().status(status).json({ code, message });
  }
}

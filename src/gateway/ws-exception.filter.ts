import { Catch } from '@nestjs/common';
import type { ExceptionFilter } from '@nestjs/common';

/**
 * The last resort of every gateway, after the application's own filters. It hands what Nest caught on to the route that
 * has the request and its `id`, and so to `connection/failure.ts`, which turns a WsException, an HttpException, a
 * GatewayError or anything else into one coded frame and one log line.
 */
@Catch()
export class WsExceptionFilter implements ExceptionFilter {
  catch(exception: unknown): never {
    throw exception;
  }
}

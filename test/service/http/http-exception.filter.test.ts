import { afterEach, expect, it } from 'vitest';
import { startService, stopServices } from '../../support/service.js';
import { SECRET, token } from '../../support/tokens.js';

afterEach(stopServices);

it('what a parser says of a body stays on the server', async () => {
  const { http } = await startService({ JWT_SECRET: SECRET, LOG_FORMAT: 'json' });
  const authorization = `Bearer ${token({ scope: 'ws-gateway:admin' })}`;
  const post = async (body: string, type = 'application/json'): Promise<[number, unknown]> => {
    const headers = { authorization, 'content-type': type };
    const response = await fetch(`${http}/admin/revoke`, { method: 'POST', body, headers });
    return [response.status, await response.json()];
  };
  const invalid = { code: 'VALIDATION_FAILED', message: 'The payload is not valid' };
  expect(await post('{"subject": hunter2')).toEqual([400, invalid]);
  expect(await post('{"__proto__": {"subject": "ada"}}')).toEqual([400, invalid]);
  expect(await post('{"subject": "ada", "everybody": "hunter2"}')).toEqual([400, invalid]);
  expect(await post('x'.repeat(20_000))).toMatchObject([413, { code: 'MESSAGE_TOO_BIG' }]);
  expect(await post('{}', 'application/json; charset=hunter2')).toEqual([
    415,
    { code: 'APPLICATION_ERROR', message: 'The request failed' },
  ]);
});

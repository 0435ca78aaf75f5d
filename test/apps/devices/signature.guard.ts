import { createHmac, timingSafeEqual } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import type { ConnectionAttempt, ConnectionGuard, PrincipalInit } from 'nestjs-ws-gateway';

const MAX_AGE_MS = 60_000;

/** A device without a credential that it could send: it signs the request, `HMAC-SHA-256(key, "path time")`. */
@Injectable()
export class SignatureGuard implements ConnectionGuard {
  readonly #keys = new Map([['meter-3', 'the-key-of-meter-3-of-32-bytes-or-more']]);

  canConnect({ request, path, principal }: ConnectionAttempt): boolean | PrincipalInit {
    if (principal !== undefined) return true; // it has shown a credential
    const [device, time, signature] = ['x-device', 'x-time', 'x-signature'].map((name) =>
      String(request.headers[name]),
    );
    const key = this.#keys.get(device ?? '');
    const isRecent = Math.abs(Date.now() - Number(time)) < MAX_AGE_MS;
    if (key === undefined || !isRecent) return false;
    const expected = createHmac('sha256', key).update(`${path} ${time}`).digest();
    const given = Buffer.from(signature ?? '', 'base64');
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return false;
    return { subject: device ?? '', roles: ['device'], expiresAt: Date.now() + 3_600_000 };
  }
}

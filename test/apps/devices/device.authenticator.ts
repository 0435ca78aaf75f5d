import { createHash, timingSafeEqual } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { Authenticator, GatewayError, userAndPassword } from 'nestjs-ws-gateway';
import type { AuthenticationContext, PrincipalInit } from 'nestjs-ws-gateway';

const digestOf = (text: string): Buffer => createHash('sha256').update(text).digest();

/** Yours would ask a database, in which passwords are kept by a slow hash. */
@Injectable()
export class Devices {
  readonly #keys = new Map([[digestOf('key-of-meter-1').toString('hex'), 'meter-1']]);
  readonly #passwords = new Map([['meter-2', digestOf('s3cret:of:meter-2')]]);

  byKey(key: string): string | undefined {
    return this.#keys.get(digestOf(key).toString('hex'));
  }

  byPassword({ user, password }: { user: string; password: string }): string | undefined {
    const expected = this.#passwords.get(user);
    return expected !== undefined && timingSafeEqual(digestOf(password), expected) ? user : undefined;
  }
}

@Injectable()
export class DeviceAuthenticator extends Authenticator {
  override readonly kinds = ['basic', 'header', 'query'] as const; // bearer tokens stay with auth.jwt

  constructor(private readonly devices: Devices) {
    super();
  }

  override authenticate(credential: string, { kind }: AuthenticationContext): PrincipalInit {
    const device =
      kind === 'basic' ? this.devices.byPassword(userAndPassword(credential)) : this.devices.byKey(credential);
    if (device === undefined) throw new GatewayError('TOKEN_INVALID');
    // When it expires the session ends with `reconnect: true`, and the device shows its credential again.
    return { subject: device, roles: ['device'], expiresAt: Date.now() + 3_600_000 };
  }
}

import { Module } from '@nestjs/common';
import { Authenticator, WsGatewayModule } from 'nestjs-ws-gateway';
import { DeviceAuthenticator, Devices } from './device.authenticator.js';
import { SignatureGuard } from './signature.guard.js';

@Module({
  imports: [
    WsGatewayModule.forRoot({
      auth: {
        jwt: { secret: process.env.JWT_SECRET ?? 'a-secret-for-people-of-32-bytes-or-more' },
        sources: ['header', 'basic', { header: 'x-api-key' }, { query: 'key' }, 'guard'],
        connectionGuards: [SignatureGuard],
      },
    }),
  ],
  providers: [Devices, { provide: Authenticator, useClass: DeviceAuthenticator }],
})
export class DevicesModule {}

import { Module } from '@nestjs/common';
import { WsGatewayModule } from 'nestjs-ws-gateway';
import { PayoutsGateway } from './payouts.gateway.js';

@Module({
  imports: [
    WsGatewayModule.forRootAsync({
      useFactory: () => ({
        auth: { jwt: { secret: process.env.JWT_SECRET ?? 'change-me-to-32-bytes-or-more-of-randomness' } },
        sealing: { keys: process.env.DATA_KEYS },
      }),
    }),
  ],
  providers: [PayoutsGateway],
})
export class AppModule {}

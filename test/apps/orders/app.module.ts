import { Module } from '@nestjs/common';
import { WsGatewayModule } from 'nestjs-ws-gateway';
import { OrdersGateway } from './orders.gateway.js';

@Module({
  imports: [
    WsGatewayModule.forRoot({
      auth: { jwt: { secret: process.env.JWT_SECRET ?? 'change-me-to-32-bytes-or-more-of-randomness' } },
    }),
  ],
  providers: [OrdersGateway],
})
export class AppModule {}

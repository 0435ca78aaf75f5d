import type { Provider } from '@nestjs/common';
import { Upstreams } from './upstreams.js';

export const proxyProviders: Provider[] = [Upstreams];

export { WsConsoleModule } from './console.module.js';
export type { MintedClaims, MintToken, WsConsoleOptions } from './options.js';

export { createWsTestingApp, useWsTesting, WsTestingApp } from './ws-testing-app.js';
export type { WsTestingOptions, WsTestPeerOptions } from './ws-testing-app.js';
export type { TestClaims } from './test-verification.js';
export { WsRefusedError, WsTestClient } from './ws-test-client.js';
export type { WaitOptions, WsTestClosed, WsTestConnectOptions, WsTestFrame, WsTestRefusal } from './ws-test-client.js';
export type { WsTestClock } from './ws-test-clock.js';

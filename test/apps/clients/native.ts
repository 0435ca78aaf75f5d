import type { Signals } from '../../../src/client/index.js';

/** What is used of `AppState` of react-native and of `@react-native-community/netinfo`. */
interface States {
  addEventListener(type: 'change', listener: (state: string) => void): { remove(): void };
}
interface Network {
  addEventListener(listener: (state: { isConnected: boolean | null }) => void): () => void;
}

export const nativeSignals =
  (AppState: States, NetInfo: Network): Signals =>
  (on) => {
    const shown = AppState.addEventListener('change', (state) => (state === 'active' ? on.visible() : on.hidden()));
    const endNetwork = NetInfo.addEventListener(({ isConnected }) =>
      isConnected === false ? on.offline() : on.online(),
    );
    return () => {
      shown.remove();
      endNetwork();
    };
  };

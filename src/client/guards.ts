/** Runs what may throw. */
export function trying<T>(act: () => T, failed: (error: unknown) => T): T {
  try {
    return act();
  } catch (error) {
    return failed(error);
  }
}

export const nothing = (): undefined => undefined;

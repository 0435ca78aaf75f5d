/** An optional package is not installed; the message is one sentence that ends with the command that installs it. */
export class MissingPackageError extends Error {
  override readonly name = 'MissingPackageError';
}

/**
 * Loads an optional package.
 *
 * @param message for instance `Sealed fields need the package jose: npm install jose@6`
 * @throws MissingPackageError when it is not installed; what else goes wrong while it loads is thrown as it is
 */
export async function loadOptional<T>(load: () => Promise<T>, message: string): Promise<T> {
  try {
    return await load();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    throw new MissingPackageError(message, { cause: error });
  }
}

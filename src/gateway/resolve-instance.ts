import type { Type } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import type { Module } from '@nestjs/core/internal';

/**
 * The object of a class that a decorator names: the application's provider where there is one, otherwise made for this, with
 * what the module can inject.
 *
 * @throws Error as Nest words it, when a dependency cannot be resolved
 */
export async function instanceOf<T extends object>(type: Type<T> | T, module: Module): Promise<T> {
  if (typeof type !== 'function') return type;
  const host = module.getProviderByKey(ModuleRef).instance as ModuleRef;
  try {
    return host.get<T>(type, { strict: false });
  } catch {
    return host.create<T>(type); // it is no provider of the application's
  }
}

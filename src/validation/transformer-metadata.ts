import { createRequire } from 'node:module';
import type { TransformFnParams } from 'class-transformer';
import { isTransformOfSealed } from './sealed.decorator.js';

/** Of class-transformer's TransformationType. */
export const PLAIN_TO_CLASS = 0;

export interface TypeMetadata {
  readonly typeFunction?: (options: { newObject: object; object: object; property: string }) => unknown;
  readonly options?: { readonly discriminator?: unknown };
}

/** What class-transformer keeps of its decorators. */
export interface TransformerMetadata {
  findTypeMetadata(target: object, property: string): TypeMetadata | undefined;
  findTransformMetadatas(
    target: object,
    property: string,
    type: number,
  ): { transformFn: (params: TransformFnParams) => unknown; options?: object & { toClassOnly?: boolean } }[];
  getExposedMetadatas(target: object): { propertyName: string; options?: { name?: string } }[];
  getExcludedMetadatas(target: object): { propertyName: string; options?: object }[];
  getStrategy(target: object): string;
}

/** It is not exported by name. Should a version move it, nothing is compiled and everything works as it did. */
export function transformerMetadata(): TransformerMetadata | undefined {
  try {
    const { defaultMetadataStorage } = createRequire(import.meta.url)('class-transformer/cjs/storage.js') as {
      defaultMetadataStorage: TransformerMetadata;
    };
    return defaultMetadataStorage;
  } catch {
    return undefined; // because there is nothing to report: the slow path has the same verdicts
  }
}

/** Does a `@Transform()` of the application's make this property? */
export function hasTransform(dto: object, property: string): boolean {
  const transforms = transformerMetadata()?.findTransformMetadatas(dto, property, PLAIN_TO_CLASS) ?? [];
  return transforms.some(({ transformFn }) => !isTransformOfSealed(transformFn));
}

/** The properties that a class, or one it inherits from, has a `@Type()` or a `@Transform()` for. */
export function convertedPropertiesOf(dto: NewableFunction): string[] {
  // because these maps are private, and there is no other list of the names
  const storage = transformerMetadata() as
    { readonly _typeMetadatas?: PropertyMaps; readonly _transformMetadatas?: PropertyMaps } | undefined;
  const names: string[] = [];
  for (let type: unknown = dto; typeof type === 'function'; type = Object.getPrototypeOf(type)) {
    for (const map of [storage?._typeMetadatas, storage?._transformMetadatas])
      names.push(...(map?.get(type)?.keys() ?? []));
  }
  return names;
}

type PropertyMaps = ReadonlyMap<unknown, ReadonlyMap<string, unknown>>;

import { relative } from 'node:path';
import ts from 'typescript';

/** A call of code that is not ours, as it stands in the source. */
export interface ForeignCall {
  /** Whose code it is: `ConnectionGuard.canConnect`, `@opentelemetry/api: Span.end`. */
  readonly call: string;
  /** Where: `connection/connection-guard.ts`. */
  readonly place: string;
  /** It stands in what is given to one of the functions of base/contain.ts. */
  readonly isContained: boolean;
}

const FENCES: ReadonlySet<string> = new Set(['contain', 'containResult', 'containWithin']);

/** What packages declare and applications write, or what calls what applications have written. */
const FOREIGN_IN_PACKAGES: Readonly<Record<string, RegExp>> = {
  '@opentelemetry/api': /./,
  '@nestjs/common': /^(ExceptionFilter|CanActivate|PipeTransform|NestInterceptor|CallHandler|Logger)\./,
  '@nestjs/core':
    /^(GuardsConsumer|InterceptorsConsumer|PipesConsumer)\.|^ModuleRef\.create$|^Injector\.loadPerContext$/,
  '@standard-schema/spec': /./,
  'class-transformer': /^(plainToInstance|ClassConstructor)|transformFn/,
  'class-validator': /^(Validator|ValidatorConstraintInterface|ValidationMetadata)\.|^validate/,
  rxjs: /^(Observable|Subscribable)\.subscribe$|^(Subscription|Unsubscribable)\.unsubscribe$/,
  '@types/node': /\.emit$/,
  typescript: /^(Reflect\.apply|(Callable)?Function\.(call|apply)|Async.*)$/,
};

/** Types of `src` that are not exported to applications and stand for their code all the same. */
const FOREIGN_IN_SRC =
  /^(Method|ConnectionHooks|BoundRule|Handler|AuditProblemListener)(\.|$)|^TransformerMetadata\.transformFn$/;

/** Exported, and ours: the clock is another one in tests only, a DtoValidator is made here, and behind a face stands our working class. */
const OURS =
  /^(Authentication|JwtAuthenticator|WsClock|WsTickets|DtoValidator|WsCluster|WsFirewall|WsMetrics|WsSession|WsSessions)\./;

/** Every call in `src` that goes into code of the application, or of a library that the application has chosen. */
export function foreignCalls(root: string): ForeignCall[] {
  const configuration = ts.getParsedCommandLineOfConfigFile(
    `${root}/tsconfig.build.json`,
    {},
    {
      ...ts.sys,
      onUnRecoverableConfigFileDiagnostic: ({ messageText }) => {
        throw new Error(String(messageText));
      },
    },
  );
  const program = ts.createProgram(configuration?.fileNames ?? [], configuration?.options ?? {});
  const checker = program.getTypeChecker();
  const src = `${root}/src/`;
  const isExported = exportedOf(program.getSourceFile(`${src}index.ts`), checker);
  const found: ForeignCall[] = [];
  for (const file of program.getSourceFiles()) {
    if (!file.fileName.startsWith(src)) continue;
    const visit = (node: ts.Node): void => {
      if (ts.isCallExpression(node) || ts.isNewExpression(node)) {
        const declaration = checker.getResolvedSignature(node)?.declaration;
        const call = declaration && foreignName(declaration, src, isExported);
        if (call !== undefined) {
          const place = relative(src, file.fileName);
          found.push({ call, place, isContained: isContained(node) });
        }
      }
      ts.forEachChild(node, visit);
    };
    visit(file);
  }
  return found;
}

/** Tells declarations that the package exports, which applications implement or call. */
function exportedOf(index: ts.SourceFile | undefined, checker: ts.TypeChecker): (node: ts.Node) => boolean {
  const module = index && checker.getSymbolAtLocation(index);
  if (module === undefined) throw new Error('src/index.ts exports nothing');
  const declarations = new Set<ts.Node>();
  for (const symbol of checker.getExportsOfModule(module)) {
    const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
    for (const declaration of target.declarations ?? []) declarations.add(declaration);
  }
  return (node) => declarations.has(node);
}

function foreignName(declaration: ts.Node, src: string, isExported: (node: ts.Node) => boolean): string | undefined {
  const owner = ownerOf(declaration);
  const name = [owner?.name?.getText(), memberOf(declaration, owner)].filter((part) => part !== undefined).join('.');
  const { fileName } = declaration.getSourceFile();
  if (fileName.startsWith(src)) {
    if (owner === undefined || !isOpenIn(declaration, owner)) return undefined;
    return (isExported(owner) && !OURS.test(name)) || FOREIGN_IN_SRC.test(name) ? name : undefined;
  }
  const [, name0 = ''] = /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(fileName) ?? [];
  return FOREIGN_IN_PACKAGES[name0]?.test(name) ? `${name0}: ${name}` : undefined;
}

/** It has no body of ours, or one that an application may put another in the place of. */
function isOpenIn(declaration: ts.Node, owner: Owner): boolean {
  if (!ts.isClassDeclaration(owner)) return (declaration as { body?: unknown }).body === undefined;
  const isAbstract = owner.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.AbstractKeyword) === true;
  return isAbstract && declaration.parent === owner;
}

type Owner = ts.ClassDeclaration | ts.InterfaceDeclaration | ts.TypeAliasDeclaration | ts.ModuleDeclaration;

function ownerOf(node: ts.Node): Owner | undefined {
  for (let at: ts.Node | undefined = node; at !== undefined; at = at.parent) {
    const isOwner = ts.isClassDeclaration(at) || ts.isInterfaceDeclaration(at) || ts.isTypeAliasDeclaration(at);
    if (isOwner || ts.isModuleDeclaration(at)) return at as Owner; // because one of the four it is
  }
  return undefined;
}

/** The name of a method, or of the property that holds a function. */
function memberOf(node: ts.Node, owner: ts.Node | undefined): string | undefined {
  for (let at: ts.Node | undefined = node; at !== undefined && at !== owner; at = at.parent) {
    const { name } = at as { name?: ts.Node };
    if (name !== undefined && !ts.isParameter(at)) return name.getText();
  }
  return undefined;
}

function isContained(node: ts.Node): boolean {
  for (let at: ts.Node = node; at.parent !== undefined; at = at.parent) {
    const { parent }: { parent: ts.Node } = at;
    if (ts.isCallExpression(parent) && parent.expression !== at && FENCES.has(parent.expression.getText())) return true;
    if (ts.isFunctionDeclaration(at) || ts.isMethodDeclaration(at)) return false;
  }
  return false;
}

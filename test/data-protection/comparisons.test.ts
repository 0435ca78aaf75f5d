import { readdirSync, readFileSync } from 'node:fs';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

/**
 * Every place where this package compares a secret. Whoever adds one adds a line here; whoever compares one in another way
 * than by secretsEqual() finds it in the lists below.
 */
const COMPARISONS = [
  'authentication/jwt/jws.ts isSigned: timingSafeEqual()',
  'data-protection/fingerprint.ts matches: secretsEqual(candidate, expected)',
  "data-protection/key-ring.ts parse: secretsEqual(bytes.toString('base64url'), key)",
  'data-protection/key-ring.ts parse: secretsEqual(other.key.export(), bytes)',
  'data-protection/secrets-equal.ts secretsEqual: timingSafeEqual()',
];

/** Where a library compares: OpenSSL the tag of a sealed value, in constant time. */
const COMPARED_BY_LIBRARIES = ['data-protection/ws-seal.ts tryOpen: jose.compactDecrypt()'];

/** Plain digests: of what has full entropy, or of what is forgotten at once. */
const PLAIN_DIGESTS = [
  "authentication/token.ts digestOf: hash('sha256', token, 'base64')", // signed by the issuer, or 256 random bits
  "cluster/names.ts digestOf: createHash('sha256')", // in keys of Redis, whose values have the name beside it
  "cluster/scripts.ts script: createHash('sha1')", // of a script of ours, as Redis names it
  "console/console-data.ts idOf: createHash('sha256')", // with a salt of the process
  "data-protection/secrets-equal.ts secretsEqual: hash('sha256', expected, 'buffer')", // of one length, for the comparison
  "data-protection/secrets-equal.ts secretsEqual: hash('sha256', given, 'buffer')",
  "engine/memory-engine.ts digestOf: createHash('sha256')", // of a message, as long as its idempotency key counts
  "firewall/firewall-facts.ts digestOf: createHash('sha256')", // of the lists of the configuration
  "monitoring/audit/audit-lock.ts acquire: createHash('sha256')", // of a path
  "monitoring/audit/audit-record.ts auditHash: createHash('sha256')", // of whole records, as the chain without a key
  'monitoring/audit/audit-record.ts lineOf: hash(sealed)',
  'monitoring/audit/audit-record.ts readRecord: hash(line.subarray(0, -SEAL_BYTES))',
  'monitoring/audit/audit-tail.ts readTail: hash(line)',
  'monitoring/audit/audit-verify.ts #accept: this.hash(bytes)',
  'monitoring/audit/audit-verify.ts #interrupted: this.hash(bytes)',
];

/** Keyed digests: pseudonyms come from one place. */
const KEYED_DIGESTS = [
  'authentication/jwt/jws.ts isSigned: createHmac(hash, key)', // the signature of a token
  "authentication/token.ts secretDigestOf: createHmac('sha256', PROCESS_KEY)", // passwords and API keys, and no pseudonym
  "data-protection/fingerprint.ts fingerprint: createHmac('sha256', key)",
  "monitoring/audit/audit-record.ts auditHash: createHmac('sha256', secret)", // of whole records, as the chain with a key
];

/** Operands that are called like a secret, compared in the ordinary way, and why that tells nobody anything. */
const LOOK_UP = 'a look-up by the digest of what was sent: who sees where it differs cannot choose what comes next';
const NO_SECRET = 'what is compared is no secret: it opens nothing';
const HARMLESS: Record<string, string> = {
  'authentication/jwt/jwt-verifier.ts authenticate: this.#verified.get(digest)': LOOK_UP,
  'authentication/jwt/recently-verified.ts get: this.#principals.get(digest)': LOOK_UP,
  'authentication/jwt/recently-verified.ts set: this.#principals.has(digest)': NO_SECRET,
  'authentication/revocations.ts #isRevokedById: this.#tokenIds.get(key)': NO_SECRET,
  'authentication/revocations.ts #isRevokedById: this.#tokenIds.has(candidate)': NO_SECRET,
  'authentication/revocations.ts addToken: this.#tokens.get(digest)': NO_SECRET,
  'authentication/revocations.ts addToken: this.#tokens.has(digest)': NO_SECRET,
  'authentication/revocations.ts addTokenId: this.#tokenIds.get(key)': NO_SECRET,
  'authentication/revocations.ts addTokenId: this.#tokenIds.has(key)': NO_SECRET,
  'authentication/revocations.ts isRevoked: this.#tokens.has(digest)': LOOK_UP,
  'authentication/ticket-store.ts take: this.#entries.get(digest)': LOOK_UP,
  'authentication/withheld.ts withheld: line.includes(secret)':
    'the credential is the client’s own, and the text is an error about it',
  'authentication/withheld.ts withheld: said.includes(secret)':
    'the credential is the client’s own, and the text is an error about it',
  'client/tokens.ts tokensOf: token === spent': 'both are the own token of the client',
  'connection/receive.ts acceptsBareToken: session.server.protocol.takesBareToken === true': NO_SECRET,
  'engine/memory-engine.ts publish: used.digest !== digest': NO_SECRET,
  'monitoring/log/scrub.ts isSecret: secretParameters.has(decoded)': NO_SECRET,
  'monitoring/log/scrub.ts isSecret: secretParameters.has(name)': NO_SECRET,
  'session/earlier-tokens.ts add: digest !== token.digest': NO_SECRET,
  'session/revoke.ts concerns: tokenIdOf(principal) !== tokenId': NO_SECRET,
};

interface Source {
  readonly file: string;
  readonly tree: ts.SourceFile;
}

const root = new URL('../../src/', import.meta.url);
const sources = readdirSync(root, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file): Source => {
    const text = readFileSync(new URL(file, root), 'utf8');
    return { file: file.replaceAll('\\', '/'), tree: ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true) };
  });

/** What `find` says of the nodes of all sources, each with its file and the function it stands in. */
function everywhere(find: (node: ts.Node) => string | undefined): string[] {
  const found: string[] = [];
  for (const { file, tree } of sources) {
    const visit = (node: ts.Node, within: string): void => {
      const what = find(node);
      if (what !== undefined) found.push(`${file} ${within}: ${what}`);
      const isFunction = ts.isFunctionDeclaration(node) || ts.isMethodDeclaration(node) || ts.isGetAccessor(node);
      const name = isFunction ? node.name?.getText() : undefined;
      ts.forEachChild(node, (child) => visit(child, name ?? within));
    };
    visit(tree, 'module');
  }
  return found.toSorted();
}

/** Calls of a function, by the last part of its name. */
function callsOf(pattern: RegExp, show: (call: ts.CallExpression) => string = (call) => call.getText()): string[] {
  return everywhere((node) => {
    if (!ts.isCallExpression(node) || !pattern.test(node.expression.getText())) return undefined;
    return show(node);
  });
}

const bare = (call: ts.CallExpression): string => `${call.expression.getText()}()`;

/** Names of what nobody else may know, as a whole word of camelCase. */
const SECRET =
  /(?:^|[^a-z])(?:secret|token|ticket|password|passphrase|credential|signature|digest|fingerprint|hmac|mac|otp|apikey|nonce)(?:$|[^a-z])/i;

const isSecret = (node: ts.Node): boolean => {
  const name = ts.isPropertyAccessExpression(node) ? node.name.text : ts.isIdentifier(node) ? node.text : undefined;
  return name !== undefined && SECRET.test(name.replaceAll(/[A-Z]/g, (letter) => ` ${letter}`));
};

/** A comparison with a constant of the code tells whether there is something, or of what kind it is. */
const isConstant = (node: ts.Node): boolean =>
  ts.isLiteralExpression(node) ||
  node.kind === ts.SyntaxKind.NullKeyword ||
  (ts.isIdentifier(node) && node.text === 'undefined');

const EQUALITY: ReadonlySet<ts.SyntaxKind> = new Set([
  ts.SyntaxKind.EqualsEqualsEqualsToken,
  ts.SyntaxKind.ExclamationEqualsEqualsToken,
  ts.SyntaxKind.EqualsEqualsToken,
  ts.SyntaxKind.ExclamationEqualsToken,
]);

/** Methods that compare their argument, or what they are called on, byte by byte; a look-up does, too. */
const COMPARING = new Set([
  'equals',
  'compare',
  'localeCompare',
  'includes',
  'indexOf',
  'startsWith',
  'endsWith',
  'get',
  'has',
]);

function ordinaryComparison(node: ts.Node): string | undefined {
  if (ts.isBinaryExpression(node) && EQUALITY.has(node.operatorToken.kind)) {
    const { left, right } = node;
    return (isSecret(left) || isSecret(right)) && !isConstant(left) && !isConstant(right) ? node.getText() : undefined;
  }
  if (!ts.isCallExpression(node) || !ts.isPropertyAccessExpression(node.expression)) return undefined;
  const { expression, arguments: given } = node;
  if (!COMPARING.has(expression.name.text)) return undefined;
  const secrets = [expression.expression, ...given].filter(isSecret);
  return secrets.length > 0 && !given.every(isConstant) ? node.getText() : undefined;
}

describe('secrets', () => {
  it('are compared in constant time, in these places', () => {
    expect([...callsOf(/\bsecretsEqual$/), ...callsOf(/\btimingSafeEqual$/, bare)].toSorted()).toEqual(COMPARISONS);
  });

  it('are compared by libraries, in these places', () => {
    expect(callsOf(/\.(?:verify|verifyAsync|compactDecrypt|jwtVerify)$/, bare)).toEqual(COMPARED_BY_LIBRARIES);
  });

  it('are never compared in another way', () => {
    expect(everywhere(ordinaryComparison)).toEqual(Object.keys(HARMLESS).toSorted());
  });

  it('are digested without a key only where they have full entropy', () => {
    expect(callsOf(/^(?:\w+\.)?(?:hash|createHash|md5|sha1|sha256)$/)).toEqual(PLAIN_DIGESTS);
  });

  it('become pseudonyms in one place', () => {
    expect(callsOf(/\bcreateHmac$/)).toEqual(KEYED_DIGESTS);
  });
});

describe('the search for ordinary comparisons', () => {
  const found = (code: string): string | undefined => {
    const tree = ts.createSourceFile('x.ts', code, ts.ScriptTarget.Latest, true);
    const [statement] = tree.statements;
    return ordinaryComparison((statement as ts.ExpressionStatement).expression);
  };

  it.each([
    'token === expected',
    'given !== this.adminToken',
    'a == b.ticket',
    'secret.equals(given)',
    'known.includes(apiKeySecret)',
    'list.indexOf(ticketDigest)',
    'tickets.get(ticket)',
  ])('finds %s', (code) => expect(found(code)).toBe(code));

  it.each([
    'token === undefined',
    "secret.includes('x')",
    'tokens === others',
    'digestible === x',
    'machine !== other',
  ])('passes %s', (code) => expect(found(code)).toBeUndefined());
});

/** Why a text is no JSON; undefined for one that is, and for none. */
export function jsonProblem(text: string): string | undefined {
  if (text.trim() === '') return undefined;
  try {
    JSON.parse(text);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** The same request in other languages. */
export function snippets(url: string, event: string, data: string): [language: string, code: string][] {
  const value = data.trim() === '' ? undefined : data;
  const compact = value === undefined || jsonProblem(value) !== undefined ? '' : JSON.stringify(JSON.parse(value));
  const frame = `{"event": ${JSON.stringify(event)}, "data": ${compact || 'null'}, "id": 1}`;
  return [
    [
      'TypeScript',
      `import { createClient } from 'nestjs-ws-gateway-client';\n\nconst client = createClient({ url: '${url}', auth: { token: () => token } });\nconst reply = await client.request('${event}'${compact === '' ? '' : `, ${compact}`});\n`,
    ],
    [
      'Python',
      `import asyncio, websockets\n\nasync def main(token):\n    async with websockets.connect('${url}', extra_headers={'Authorization': 'Bearer ' + token}) as socket:\n        await socket.send('''${frame}''')\n        print(await socket.recv())\n\nasyncio.run(main('…'))\n`,
    ],
    ['ws-gateway', `npx ws-gateway try --url ${url} --token "$TOKEN"\n`],
  ];
}

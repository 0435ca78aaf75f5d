import type { JSX } from 'preact';
import { explain } from './explain.js';

/** A code in words: what it means, and what a client should do. */
export function Explained({ code }: { code: string }): JSX.Element {
  const { words, spec } = explain(code);
  const facts =
    spec === undefined
      ? []
      : [
          spec.close !== undefined &&
            `close ${spec.close}, ${spec.reconnect === true ? 'the client comes back' : 'the client stops'}`,
          spec.status !== undefined && `HTTP ${spec.status} before the upgrade`,
          spec.violation !== undefined && 'counts towards a ban',
        ].filter((fact) => fact !== false);
  return (
    <div class="advice">
      <p>{words}</p>
      {facts.length > 0 && <p class="muted">{facts.join(' · ')}</p>}
    </div>
  );
}

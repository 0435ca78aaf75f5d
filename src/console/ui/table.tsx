import type { JSX } from 'preact';

interface HeadProps {
  readonly names: readonly string[];
  /** Columns of numbers, behind the others. */
  readonly numbers?: readonly string[];
  /** True where each row ends with what can be done with it. */
  readonly hasAct?: boolean;
}

/** The head of a table. */
export function Head({ names, numbers = [], hasAct = false }: HeadProps): JSX.Element {
  return (
    <tr>
      {names.map((each) => (
        <th scope="col" key={each}>
          {each}
        </th>
      ))}
      {numbers.map((each) => (
        <th scope="col" class="end" key={each}>
          {each}
        </th>
      ))}
      {hasAct && (
        <th scope="col">
          <span class="muted">Act</span>
        </th>
      )}
    </tr>
  );
}

interface TableProps {
  readonly title: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
  readonly none: string;
}

/** A card with a table: a name in each row, and numbers. */
export function Table({ title, head, rows, none }: TableProps): JSX.Element {
  return (
    <section class="card" aria-label={title}>
      <h2>{title}</h2>
      {rows.length === 0 ? (
        <p class="empty">{none}</p>
      ) : (
        <table>
          <thead>
            <Head names={head.slice(0, 1)} numbers={head.slice(1)} />
          </thead>
          <tbody>
            {rows.map((row, at) => (
              <tr key={`${row[0]} ${at}`}>
                {row.map((cell, index) => (
                  <td key={head[index]} class={index === 0 ? 'mono' : 'end'}>
                    {cell}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}

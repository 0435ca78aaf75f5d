/** One line of a metric. */
export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

/** Reads the text format of Prometheus. @throws Error for a line that is none of it */
export function samplesOf(text: string): Sample[] {
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*?)\})? (\S+)( # .*)?$/.exec(line);
      if (match === null) throw new Error(`not a line of metrics: ${line}`);
      const [, name = '', labels = '', value = ''] = match;
      const pairs = [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key = '', text_ = '']) => [key, text_]);
      const number = value === '+Inf' ? Infinity : Number(value);
      if (Number.isNaN(number)) throw new Error(`not a number: ${line}`);
      return { name, labels: Object.fromEntries(pairs) as Record<string, string>, value: number };
    });
}

/** The value of one line; undefined when it is not there. */
export function valueOf(samples: Sample[], name: string, labels: Record<string, string> = {}): number | undefined {
  const wanted = Object.entries(labels);
  return samples.find(
    (sample) =>
      sample.name === name &&
      Object.keys(sample.labels).length === wanted.length &&
      wanted.every(([key, value]) => sample.labels[key] === value),
  )?.value;
}

import { POINTS } from './wire.js';

/** The last numbers of one series. */
export class Ring {
  readonly #values: Float32Array;
  #next = 0;
  #count = 0;

  constructor(private readonly size = POINTS) {
    this.#values = new Float32Array(size);
  }

  push(value: number): void {
    this.#values[this.#next] = value;
    this.#next = (this.#next + 1) % this.size;
    this.#count = Math.min(this.#count + 1, this.size);
  }

  /** The oldest first. */
  values(): number[] {
    const first = (this.#next - this.#count + this.size) % this.size;
    return Array.from({ length: this.#count }, (_, index) => this.#values[(first + index) % this.size] as number); // because it is in range
  }

  get bytes(): number {
    return this.#values.byteLength;
  }
}

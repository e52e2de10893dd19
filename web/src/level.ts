/** How loud a voice is, and whether somebody speaks. */

const FLOOR_DB = -60;
const CEILING_DB = -18;
const SPEAKING_ABOVE = 0.24;
const STILL_SPEAKING_ABOVE = 0.14;
const PAUSE_MS = 350;
const FALL_PER_TICK = 0.72;

/** Root mean square of samples in -1..1 as 0..1 on a scale as ears have it. */
export function loudness(rms: number): number {
  const db = 20 * Math.log10(Math.max(rms, 1e-6));
  return Math.min(1, Math.max(0, (db - FLOOR_DB) / (CEILING_DB - FLOOR_DB)));
}

/** Smooths one voice's level and decides with hysteresis whether it speaks. Pure. */
export class Voice {
  level = 0;
  speaking = false;
  #lastLoud = -Infinity;

  /** `level` is 0..1; `now` is milliseconds and never goes backwards. */
  receive(level: number, now: number): void {
    this.level = Math.max(level, this.level * FALL_PER_TICK);
    if (level > (this.speaking ? STILL_SPEAKING_ABOVE : SPEAKING_ABOVE)) this.#lastLoud = now;
    this.speaking = now - this.#lastLoud < PAUSE_MS;
  }
}

/** Listens to one stream without playing it. */
export class Meter {
  readonly #source: MediaStreamAudioSourceNode;
  readonly #analyser: AnalyserNode;
  readonly #samples: Float32Array<ArrayBuffer>;

  constructor(context: AudioContext, stream: MediaStream) {
    this.#source = context.createMediaStreamSource(stream);
    this.#analyser = context.createAnalyser();
    this.#analyser.fftSize = 2048; // 43 ms at 48 kHz: nothing between two readings is missed
    this.#samples = new Float32Array(this.#analyser.fftSize);
    this.#source.connect(this.#analyser);
  }

  /** Loudness of the last moment, 0..1. */
  read(): number {
    this.#analyser.getFloatTimeDomainData(this.#samples);
    let sum = 0;
    for (const sample of this.#samples) sum += sample * sample;
    return loudness(Math.sqrt(sum / this.#samples.length));
  }

  close(): void {
    this.#source.disconnect();
  }
}

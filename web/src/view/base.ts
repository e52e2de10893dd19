/** What all views share: they render into the light DOM, and follow models that report changes. */

import { LitElement, type ReactiveController } from "lit";

export abstract class View extends LitElement {
  /** No shadow root: page hooks and style sheets reach everything. */
  protected override createRenderRoot(): HTMLElement {
    return this;
  }
}

/** Renders its view again whenever the watched model reports `type`. */
export class Watch implements ReactiveController {
  readonly #view: View;
  readonly #model: () => EventTarget | null;
  readonly #type: string;
  readonly #heard: () => void;
  #watched: EventTarget | null = null;

  /** `heard` replaces rendering for what is shown more cheaply. */
  constructor(view: View, model: () => EventTarget | null, type = "change", heard?: () => void) {
    this.#view = view;
    this.#model = model;
    this.#type = type;
    this.#heard = heard ?? (() => this.#view.requestUpdate());
    view.addController(this);
  }

  hostUpdate(): void {
    this.#watch(this.#model());
  }

  hostConnected(): void {
    this.#view.requestUpdate();
  }

  hostDisconnected(): void {
    this.#watch(null);
  }

  #watch(model: EventTarget | null): void {
    if (model === this.#watched) return;
    this.#watched?.removeEventListener(this.#type, this.#heard);
    model?.addEventListener(this.#type, this.#heard);
    this.#watched = model;
  }
}

/** Renders its view again every `ms` while it is shown: for times that count. */
export class Every implements ReactiveController {
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(
    readonly view: View,
    readonly ms: number,
    readonly heard: () => void = () => view.requestUpdate(),
  ) {
    view.addController(this);
  }

  hostConnected(): void {
    this.#timer = setInterval(this.heard, this.ms);
  }

  hostDisconnected(): void {
    clearInterval(this.#timer);
  }
}

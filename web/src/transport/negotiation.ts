/**
 * Perfect negotiation with one peer (W3C webrtc-pc, 10.7) as a pure machine.
 *
 * The shell gives events in the order in which they happened and performs the returned actions
 * strictly one after the other. `tests/golden/negotiation.json` pins every transition; the
 * Python side reads the same file.
 */

export type Role = "polite" | "impolite";
export type DescriptionType = "offer" | "answer";

export type NegotiationEvent =
  /** The local side wants to change something. */
  | { readonly type: "negotiation_needed" }
  | { readonly type: "offer" }
  | { readonly type: "answer" }
  | { readonly type: "candidate" }
  /** `make_offer` or `make_answer` is done: the description is set and on its way. */
  | { readonly type: "local_description_set"; readonly description: DescriptionType }
  | { readonly type: "closed" };

export type NegotiationAction =
  | "make_offer"
  | "make_answer"
  | "apply_offer"
  | "rollback_and_apply_offer"
  | "apply_answer"
  | "add_candidate"
  /** Keep it until the next remote description is applied, then add it. */
  | "queue_candidate"
  | "ignore_offer"
  | "ignore_answer"
  | "ignore_candidate";

type State = "stable" | "making_offer" | "have_local_offer" | "making_answer" | "closed";

export class Negotiation {
  #state: State = "stable";
  /** A wish that came while something was in flight: one further offer afterwards. */
  #wished = false;
  /** The last remote offer was ignored, and with it the candidates that belong to it. */
  #ignoring = false;
  #remoteApplied = false;

  readonly role: Role;

  constructor(role: Role) {
    this.role = role;
  }

  /** An offer of ours waits for its answer, or is being made. */
  get offering(): boolean {
    return this.#state === "making_offer" || this.#state === "have_local_offer";
  }

  receive(event: NegotiationEvent): NegotiationAction[] {
    if (this.#state === "closed") return [];
    switch (event.type) {
      case "negotiation_needed":
        return this.#wish();
      case "offer":
        return this.#receiveOffer();
      case "answer":
        return this.#receiveAnswer();
      case "candidate":
        return [this.#receiveCandidate()];
      case "local_description_set":
        return this.#localDescriptionSet(event.description);
      case "closed":
        this.#state = "closed";
        return [];
    }
  }

  #wish(): NegotiationAction[] {
    if (this.#state !== "stable") {
      this.#wished = true;
      return [];
    }
    this.#wished = false;
    this.#state = "making_offer";
    return ["make_offer"];
  }

  #receiveOffer(): NegotiationAction[] {
    const glare = this.offering;
    if (glare && this.role === "impolite") {
      this.#ignoring = true;
      return ["ignore_offer"];
    }
    this.#ignoring = false;
    this.#remoteApplied = true;
    this.#state = "making_answer";
    return [glare ? "rollback_and_apply_offer" : "apply_offer", "make_answer"];
  }

  #receiveAnswer(): NegotiationAction[] {
    if (this.#state !== "have_local_offer") return ["ignore_answer"];
    this.#ignoring = false;
    this.#remoteApplied = true;
    return ["apply_answer", ...this.#settle()];
  }

  #receiveCandidate(): NegotiationAction {
    if (this.#ignoring) return "ignore_candidate";
    return this.#remoteApplied ? "add_candidate" : "queue_candidate";
  }

  #localDescriptionSet(description: DescriptionType): NegotiationAction[] {
    if (description === "offer") {
      // Otherwise the offer was overtaken by a remote one and rolled back.
      if (this.#state === "making_offer") this.#state = "have_local_offer";
      return [];
    }
    return this.#state === "making_answer" ? this.#settle() : [];
  }

  #settle(): NegotiationAction[] {
    this.#state = "stable";
    return this.#wished ? this.#wish() : [];
  }
}

/**
 * Who gives way in glare: a browser always does towards an agent (aiortc cannot roll back),
 * and of two browsers the one with the smaller sid.
 */
export function roleTowards(
  localSid: string,
  remote: { readonly sid: string; readonly kind: string },
): Role {
  return remote.kind === "agent" || localSid < remote.sid ? "polite" : "impolite";
}

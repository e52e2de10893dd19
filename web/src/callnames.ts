/** What everybody is called on this page: two people named Alice are "Alice" and "Alice 2". */

/**
 * Gives each participant a name that nobody else has had during this visit. Agents keep theirs.
 * What somebody is called changes only if they rename themselves, so captions stay true. Pure.
 */
export class CallNames {
  /** By identity. */
  readonly #given = new Map<string, { readonly name: string; readonly called: string }>();
  /** Names that are an agent's, or will be. */
  readonly #reserved = new Set<string>();

  /** Nobody but an agent is called this from now on. */
  reserve(name: string): void {
    this.#reserved.add(keyOf(name));
  }

  /** Somebody is here under this name, and is to be called what is returned. */
  call(identity: string, name: string): string {
    const given = this.#given.get(identity);
    if (given?.name === name) return given.called;
    const called = this.#free(identity, name);
    this.#given.set(identity, { name, called });
    return called;
  }

  #free(identity: string, name: string): string {
    const taken = new Set(this.#reserved);
    for (const [other, { called }] of this.#given) {
      if (other !== identity) taken.add(keyOf(called));
    }
    let called = name;
    for (let n = 2; taken.has(keyOf(called)); n += 1) called = `${name} ${n}`;
    return called;
  }
}

/** Names that sound the same are the same. */
function keyOf(name: string): string {
  return name.normalize("NFKC").replace(/\s+/g, " ").trim().toLocaleLowerCase();
}

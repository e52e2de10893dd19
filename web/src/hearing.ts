/** Whom the agent hears and speaks to, in words. */

import { listed } from "./people";
import { hears, type Routing, speaksTo } from "./routing";

/** Somebody as the sentences name them: "you" or a name. */
export interface Someone {
  readonly identity: string;
  readonly called: string;
}

/** "Mulisa hears you and Bob, not Carol. She speaks to everybody." */
export function routingSummary(agent: string, routing: Routing, people: readonly Someone[]): string {
  const ears = sorted(people, ({ identity }) => hears(routing, identity));
  const voice = sorted(people, ({ identity }) => speaksTo(routing, identity));
  const later = routing.listeners !== null && voice.no.length === 0 ? ", not to whoever comes later" : "";
  return `${agent} hears ${whom(ears)}. She speaks to ${whom(voice, later !== "")}${later}.`;
}

/** What is unusual about one person: "Mulisa does not hear you"; empty if nothing is. */
export function routingNote(agent: string, routing: Routing, { identity, called }: Someone): string {
  const not = [
    ...(hears(routing, identity) ? [] : ["hear"]),
    ...(speaksTo(routing, identity) ? [] : ["speak to"]),
  ];
  return not.length === 0 ? "" : `${agent} does not ${not.join(" or ")} ${called}`;
}

/** What changed for these people: "Mulisa no longer hears Bob."; empty if nothing did. */
export function routingNews(
  agent: string,
  before: Routing,
  after: Routing,
  people: readonly Someone[],
): string {
  const news = (verb: string, is: (routing: Routing, identity: string) => boolean) => {
    const changed = people.filter(({ identity }) => is(before, identity) !== is(after, identity));
    const { yes, no } = sorted(changed, ({ identity }) => is(after, identity));
    return [
      ...(no.length === 0 ? [] : [`${agent} no longer ${verb} ${listed(no)}.`]),
      ...(yes.length === 0 ? [] : [`${agent} ${verb} ${listed(yes)} again.`]),
    ];
  };
  return [...news("hears", hears), ...news("speaks to", speaksTo)].join(" ");
}

interface Sorted {
  readonly yes: readonly string[];
  readonly no: readonly string[];
}

function sorted(people: readonly Someone[], is: (someone: Someone) => boolean): Sorted {
  const called = (some: readonly Someone[]) => some.map((each) => each.called);
  return { yes: called(people.filter(is)), no: called(people.filter((each) => !is(each))) };
}

function whom({ yes, no }: Sorted, byName = false): string {
  if (yes.length === 0) return "nobody";
  if (no.length === 0 && !byName) return "everybody";
  return no.length === 0 ? listed(yes) : `${listed(yes)}, not ${listed(no, "or")}`;
}

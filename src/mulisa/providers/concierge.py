"""An LLM without a model: understands a dozen intents and answers with facts of the call.

Needs no key, no network and no weights. It sees what any LLM sees, the messages and the tools:
first it asks for a tool, then it puts the result into a few spoken sentences.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mulisa.core.provider import ChatRequest, Delta, Message, Progress, TextDelta, ToolCall
from mulisa.providers.intents import Intent, understand
from mulisa.providers.spoken import clip, counted, listed, past, quote, sentence

_MAX_FOLLOW_UPS = 5
_QUOTED_TURNS = 3


class Concierge:
    """Implements `LLM`. Holds no state: the same request has the same answer."""

    @property
    def label(self) -> str:
        """What it is, for people."""
        return "concierge (built in, no language model)"

    async def load(self, progress: Progress) -> None:
        """Nothing to load."""
        progress("concierge ready", 1.0)

    async def aclose(self) -> None:
        """Nothing to free."""

    async def chat(self, request: ChatRequest) -> AsyncIterator[Delta]:
        """Ask for a tool first, then answer with its result, sentence by sentence."""
        question = _read(request)
        wanted = _wanted_tool(question)
        if wanted is not None:
            name, arguments = wanted
            if any(spec.name == name for spec in request.tools):
                yield ToolCall(f"concierge-{len(request.messages)}", name, arguments)
                return
            yield TextDelta("I cannot look that up here, sorry.")
            return
        for spoken in _COMPOSERS[question.intent.kind](question):
            yield TextDelta(f"{sentence(spoken)} ")


@dataclass(frozen=True, slots=True)
class _Question:
    """The latest question, and what the tools have answered to it so far."""

    intent: Intent
    text: str
    asker: str
    agent: str
    results: tuple[Mapping[str, Any], ...]
    turn: int
    """How many replies there were before: varies the wording."""

    def vary(self, *wordings: str) -> str:
        return wordings[self.turn % len(wordings)]

    @property
    def result(self) -> Mapping[str, Any]:
        return self.results[-1] if self.results else {}

    @property
    def you(self) -> str:
        """The asker's name with a comma before it; empty if it is not known."""
        return f", {self.asker}" if self.asker else ""


def _read(request: ChatRequest) -> _Question:
    messages = request.messages
    asked = next((i for i in reversed(range(len(messages))) if messages[i].role == "user"), None)
    agent = _agent_name(messages)
    turn = sum(message.role == "assistant" and not message.tool_calls for message in messages)
    if asked is None:
        return _Question(Intent("hello"), "", "", agent, (), turn)
    question = messages[asked]
    people = tuple(dict.fromkeys(m.name for m in messages if m.role == "user" and m.name))
    intent = _intent(messages, asked, agent, people, _MAX_FOLLOW_UPS)
    results = tuple(_result(message) for message in messages[asked:] if message.role == "tool")
    return _Question(intent, question.content, question.name, agent, results, turn)


def _intent(
    messages: Sequence[Message], asked: int, agent: str, people: Sequence[str], depth: int
) -> Intent:
    """What message `asked` wants, in the light of the same person's question before it."""
    before = None
    if depth and _FOLLOW_UP.match(messages[asked].content):
        earlier = _question_before(messages, asked)
        if earlier is not None:
            before = _intent(messages, earlier, agent, people, depth - 1)
    return understand(messages[asked].content, agent=agent, people=people, before=before)


_FOLLOW_UP = re.compile(r"\W*(?:\w+\W+){0,4}?(?:and|or|what about|how about)\b", re.IGNORECASE)


def _question_before(messages: Sequence[Message], asked: int) -> int | None:
    """The latest message before `asked` that got an answer, of the same person."""
    answered = False
    for index in reversed(range(asked)):
        message = messages[index]
        if message.role == "assistant":
            answered = True
        elif message.role == "user" and answered and message.name == messages[asked].name:
            return index
    return None


def _agent_name(messages: Sequence[Message]) -> str:
    for message in messages:
        if message.role == "system" and (found := re.match(r"You are ([^,.\n]+)", message.content)):
            return found[1].strip()
    return "Mulisa"


def _result(message: Message) -> Mapping[str, Any]:
    try:
        result = json.loads(message.content)
    except ValueError:
        result = None
    return result if isinstance(result, dict) else {"error": "I could not look that up"}


def _wanted_tool(question: _Question) -> tuple[str, Mapping[str, Any]] | None:
    """The tool to call next; None when everything is known."""
    intent, step = question.intent, len(question.results)
    if step == 0:
        name = _TOOLS.get(intent.kind)
        return None if name is None else (name, _arguments(intent, name))
    if intent.kind != "said" or step > 1 or not intent.topic or intent.person in ("", "you"):
        return None
    if "error" in question.result:
        return "what_was_said", {"about": intent.topic, "limit": 12}
    if not _worth_telling(question.result["turns"]):
        return "what_was_said", {"by": intent.person, "limit": 12}
    return None


_TOOLS = {
    "hear": "hear",
    "speak_to": "speak_to",
    "heard": "who_is_here",
    "quiet": "stay_quiet",
    "repeat": "last_reply",
    "who": "who_is_here",
    "said": "what_was_said",
    "catch_up": "minutes",
    "minutes": "minutes",
    "duration": "call_duration",
    "time": "date_time",
    "date": "date_time",
    "connection": "connection",
    "help": "help",
    "question": "what_was_said",
}


def _arguments(intent: Intent, tool: str) -> Mapping[str, Any]:
    if tool == "what_was_said":
        values = {"by": intent.person, "about": intent.topic, "minutes": intent.minutes}
        return {key: value for key, value in values.items() if value} | {"limit": 12}
    if tool == "minutes" and intent.minutes is not None:
        return {"minutes": intent.minutes}
    if tool == "hear":
        return {"who": intent.person, "on": intent.on}
    if tool == "speak_to":
        return {"who": list(intent.people)}
    if tool == "connection" and intent.person not in ("", "me"):
        return {"who": intent.person}
    return {}


def _who(question: _Question) -> list[str]:
    result = question.result
    if "error" in result:
        return [str(result["error"])]
    people, left = result["people"], result["left"]
    if question.intent.person:
        return _whether_here(question.intent.person, people, left)
    names = [person["name"] for person in people if not person["is_you"]]
    if not names:
        spoken = [question.vary("It is just you and me", "Only the two of us") + question.you]
    else:
        everybody = [*names, *(["you"] if len(names) < len(people) else []), "me"]
        count = question.vary("There are {} of us", "We are {}").format(counted(len(everybody)))
        spoken = [f"{count}: {listed(everybody)}"]
    if left:
        spoken.append(f"{left[-1]['name']} left {left[-1]['ago']}")
    return spoken


def _whether_here(
    person: str, people: Sequence[Mapping[str, Any]], left: Sequence[Mapping[str, Any]]
) -> list[str]:
    for present in people:
        if person.lower() in present["name"].lower():
            return [f"Yes, {present['name']} is here, since {present['since']}"]
    for gone in reversed(left):
        if person.lower() in gone["name"].lower():
            return [f"No, {gone['name']} left {gone['ago']}"]
    names = listed([present["name"] for present in people]) or "nobody"
    return [f"No, I do not see {person.title()} here", f"In the call: {names}"]


def _said(question: _Question) -> list[str]:
    result, intent = question.result, question.intent
    if "error" in result:
        return [str(question.results[0]["error"])]
    topic = f" about {intent.topic}" if intent.topic else ""
    turns = _worth_telling(result["turns"])
    misheard = "error" in question.results[0]
    if misheard and turns:
        return [f"I know nobody called {intent.person} here", *_retold(turns, question)]
    if misheard:
        return [str(question.results[0]["error"])]
    if not turns:
        return [f"{_silent(intent)}{topic}{question.you}"]
    elsewhere = [f"{_silent(intent)}{topic}"] if len(question.results) > 1 else []
    return [*elsewhere, *_retold(turns, question)]


def _silent(intent: Intent) -> str:
    who = intent.person
    if who == "you":
        return "I have not said anything"
    if not who:
        return "I have heard nothing"
    return f"I have not heard {'you' if who == 'me' else who.title()} say anything"


def _worth_telling(turns: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What people told each other; what they told the agent only if there is nothing else."""
    among_them = [turn for turn in turns if not turn["to_agent"] and not turn["by_agent"]]
    if among_them:
        return among_them
    return [
        turn
        for turn in turns
        if turn["by_agent"] or understand(turn["text"]).kind in ("statement", "question")
    ]


def _retold(turns: Sequence[Mapping[str, Any]], question: _Question) -> list[str]:
    spoken, before = [], ""
    for turn in turns[-_QUOTED_TURNS:]:
        name = "You" if turn["name"] == question.asker else turn["name"]
        if turn["by_agent"]:
            name = "I"
        if name == before:
            spoken.append(f"Then: {clip(turn['text'])}")
        else:
            when = f" {turn['ago']}" if turn["ago"] != "just now" else ""
            spoken.append(f"{name} said{when}: {clip(turn['text'])}")
        before = name
    return spoken


def _minutes(question: _Question) -> list[str]:
    result, aspect = question.result, question.intent.aspect
    if "error" in result:
        return [str(result["error"])]
    speakers = [speaker["name"] for speaker in result["speakers"]]
    if not speakers:
        return [f"Nothing was said in {past(result['duration'])}{question.you}"]
    if aspect:
        return _aspect(aspect, result)
    shown = ["you" if name == question.asker else name for name in speakers]
    about = f", mostly about {listed(result['topics'][:3])}" if result["topics"] else ""
    spoken = [f"In {past(result['duration'])}, {listed(shown)} spoke{about}"]
    told: set[str] = set()
    for label, key in (("Decided", "decisions"), ("To do", "tasks"), ("", "highlights")):
        fresh = [item for item in result[key][-2:] if item["text"] not in told]
        told.update(item["text"] for item in fresh)
        if key == "highlights" and len(told) - len(fresh) >= 3:
            break
        spoken += [f"{label}: {quote(item)}" if label else quote(item) for item in fresh]
    still_open = [item for item in result["open_questions"] if item["text"] not in told]
    if still_open:
        spoken.append(f"Still open: {quote(still_open[-1])}")
    return spoken


def _aspect(aspect: str, result: Mapping[str, Any]) -> list[str]:
    if aspect == "topics":
        return [f"So far it was about {listed(result['topics']) or 'nothing in particular'}"]
    what = {"decisions": "decision", "tasks": "task", "open_questions": "open question"}[aspect]
    found = result[aspect]
    if not found:
        return [f"I have not heard a clear {what} so far"]
    count = f"{counted(len(found))} {what}{'' if len(found) == 1 else 's'}"
    return [f"I heard {count}", *(quote(item) for item in found[-_QUOTED_TURNS:])]


def _duration(question: _Question) -> list[str]:
    result = question.result
    if "error" in result:
        return [str(result["error"])]
    spoken = [f"The call has been going since {result['since']}, that is {result['duration']}"]
    if result.get("you_joined", result["since"]) != result["since"]:
        spoken.append(f"You joined at {result['you_joined']}")
    return spoken


def _repeat(question: _Question) -> list[str]:
    result = question.result
    text = " ".join(filter(None, (result.get("text"), result.get("unspoken"))))
    if not text:
        return [str(result.get("error") or "I have not said anything yet")]
    return [question.vary("I said", "Once more", "Again") + f": {text}"]


def _clock(question: _Question) -> list[str]:
    result = question.result
    if "error" in result:
        return [str(result["error"])]
    if question.intent.kind == "date":
        return [f"Today is {result['date']}"]
    return [question.vary("It is", "The time is") + f" {result['time']}"]


def _connection(question: _Question) -> list[str]:
    result = question.result
    if "error" in result:
        return [str(result["error"])]
    paths = (
        "This room is a mesh: everybody is connected directly to everybody else"
        if result["topology"] == "mesh"
        else "In this room everybody is connected to one media server"
    )
    return [item for item in (result["description"], paths) if item]


def _hear(question: _Question) -> list[str]:
    result = question.result
    if "error" in result:
        return [str(result["error"])]
    if result["everybody"]:
        if result["hears"]:
            return [question.vary("Okay, I listen to everybody again", "I hear everybody again")]
        undo = "To undo that, use the page, or write to me"
        return ["Okay, from now on I hear nobody", undo]
    names = _them(result["people"])
    if result["hears"]:
        return [question.vary(f"Okay, I listen to {names}", f"I hear {names} now")]
    if any(person["is_you"] for person in result["people"]):
        undo = "To undo that, switch me on again on the page, or write to me"
    else:
        undo = f"{names} can undo that on the page, or by writing to me"
    return [f"Okay, I no longer listen to {names}", undo]


def _speak_to(question: _Question) -> list[str]:
    result = question.result
    if "error" in result:
        return [str(result["error"])]
    if result["everybody"]:
        return [question.vary("Okay, everybody hears me again", "I speak to everybody again")]
    return [f"Okay, from now on I speak only to {_them(result['people'])}"]


def _heard(question: _Question) -> list[str]:
    result = question.result
    if "error" in result:
        return [str(result["error"])]
    people = sorted(result["people"], key=lambda person: not person["is_you"])
    heard = [person for person in people if person["you_hear_them"]]
    spoken = [f"I hear {_them(heard) or 'nobody'}"]
    if heard and len(heard) < len(people):
        spoken.append(f"I do not hear {_them([p for p in people if not p['you_hear_them']])}")
    listeners = [person for person in people if person["they_hear_you"]]
    if len(listeners) < len(people):
        spoken.append(f"I speak {f'only to {_them(listeners)}' if listeners else 'to nobody here'}")
    else:
        spoken.append("I speak to everybody")
    return spoken


def _them(people: Sequence[Mapping[str, Any]]) -> str:
    return listed(["you" if person["is_you"] else person["name"] for person in people])


def _quiet(question: _Question) -> list[str]:
    if "error" in question.result:
        return [str(question.result["error"])]
    return [f"Okay, I will be quiet until somebody says {question.agent}"]


def _help(question: _Question) -> list[str]:
    abilities = question.result.get("abilities")
    if not abilities:
        return ["Ask me who is here, what was said, or for the minutes of this call"]
    half = len(abilities) // 2 + 1
    return [
        f"Ask me about {listed(abilities[:half])}",
        f"I also help with {listed(abilities[half:])}",
    ]


def _unknown(question: _Question) -> list[str]:
    """A question beyond the intents: what was said about it is better than nothing."""
    if len(question.intent.topic.split()) < 2:
        return [f"Yes{question.you}?"]
    heard = [turn for turn in question.result.get("turns") or [] if not turn["by_agent"]]
    if turns := _worth_telling(heard):
        opening = question.vary("I cannot answer that myself", "I have no answer of my own")
        return [f"{opening}, but it came up", *_retold(turns[-1:], question)]
    return [
        question.vary("I do not know that", "That is beyond me") + question.you,
        "I can tell you who is here, what somebody said, or what you missed",
    ]


def _statement(question: _Question) -> list[str]:
    if len(question.intent.topic.split()) < 3:
        return [f"Yes{question.you}?"]
    return [
        question.vary("Noted", "I will remember that", "All right, I keep that in mind")
        + question.you
    ]


def _fixed(*wordings: str) -> Callable[[_Question], list[str]]:
    def compose(question: _Question) -> list[str]:
        wording = question.vary(*wordings)
        filled = wording.replace("{you}", question.you).replace("{agent}", question.agent)
        return filled.split("|")

    return compose


_COMPOSERS: Mapping[str, Callable[[_Question], list[str]]] = {
    "hear": _hear,
    "speak_to": _speak_to,
    "heard": _heard,
    "quiet": _quiet,
    "stop": _fixed("Okay", "All right"),
    "repeat": _repeat,
    "who": _who,
    "said": _said,
    "catch_up": _minutes,
    "minutes": _minutes,
    "duration": _duration,
    "time": _clock,
    "date": _clock,
    "connection": _connection,
    "help": _help,
    "identity": _fixed(
        "I am {agent}, an AI in this call{you}|I listen, remember who said what, and answer"
    ),
    "hearing": _fixed("Yes{you}, I hear you", "Loud and clear{you}"),
    "wellbeing": _fixed("I am fine, thank you{you}", "Very well, thanks{you}"),
    "thanks": _fixed("You are welcome{you}", "Any time{you}", "My pleasure{you}"),
    "hello": _fixed("Hello{you}|What can I do for you?", "Hi{you}, how can I help?"),
    "bye": _fixed("Goodbye{you}", "See you{you}"),
    "yes": _fixed("All right{you}", "Okay{you}"),
    "question": _unknown,
    "statement": _statement,
}

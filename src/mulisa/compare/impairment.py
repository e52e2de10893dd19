"""Row 10: what two people with bad networks hear of each other, and what Mulisa understands."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

from mulisa.compare import probe
from mulisa.compare.bad_network import IMPAIRED, Scene, scene
from mulisa.compare.browser import Person, Span, person_in
from mulisa.compare.calls import check_wanted
from mulisa.compare.clock import now
from mulisa.compare.impairments import IMPAIRMENTS, UPLINK, Impairment
from mulisa.compare.load import Load, Loads, late_percent, watching
from mulisa.compare.measure import FAILURES, Bench, Book
from mulisa.compare.metrics import COMPARED, Topology
from mulisa.compare.result import Figure
from mulisa.compare.scenario import VOICES, Voice
from mulisa.compare.speech import MONOLOGUE
from mulisa.compare.traffic import one_stream
from mulisa.compare.words import word_error_rate
from mulisa.core.audio import Samples

TAKES: Final = 2
"""How often both say something under each condition."""
SETTLING: Final = 1.0
"""Seconds of a changed network before it is measured."""
TRAVELLING: Final = 0.5
"""Seconds in which what was said last is heard at the other end."""
UNDERSTANDING: Final = 15.0
"""Seconds after which Mulisa will not write any more of what was said."""
WRITTEN: Final = 1.0
"""Seconds without a new word after which she has written it all, if it is about as long;"""
WRITTEN_LITTLE: Final = 4.0
"""and if it is much shorter."""
MOST: Final = 0.8
LONGEST: Final = 150.0
"""Seconds after which a condition hangs."""
_LOOK: Final = 0.25


async def measure(
    bench: Bench,
    impairments: Sequence[Impairment] = IMPAIRMENTS,
    takes: int = TAKES,
    topologies: Sequence[Topology] = COMPARED,
) -> list[Figure]:
    """With the fewest people, and a narrow uplink with the most as well.

    Raises ConfigError where something is missing.
    """
    few, many = min(bench.sizes), max(bench.sizes)
    figures: list[Figure] = []
    async with scene() as where, watching() as loads:
        for topology in topologies:
            call = _Call(where, topology, bench, loads, takes)
            try:
                await call.come(few)
                for impairment in impairments:
                    figures += await call.under(impairment)
                if many > few and UPLINK in impairments:
                    await call.come(many)
                    figures += await call.under(UPLINK)
            except FAILURES as error:
                check_wanted(error)
                bench.remark(f"not all measured ({topology}): {error}")
            finally:
                await call.end()
    bench.remark(_TWICE)
    return figures


_TWICE: Final = (
    "Two people speak at the same time, each on such a network: what one hears of the other has "
    "passed both, what Mulisa hears has passed one. The others are silent, on a good network."
)


class _Call:
    """One room, and who comes into it."""

    def __init__(
        self, where: Scene, topology: Topology, bench: Bench, loads: Loads, takes: int
    ) -> None:
        self._scene = where
        self._topology: Topology = topology
        self._bench = bench
        self._loads = loads
        self._takes = takes
        self._people: list[Person] = []

    async def come(self, count: int) -> None:
        """More people, until there are so many; all hear each other then."""
        self._bench.say(f"{self._topology}: {count} people come in")
        for number in range(len(self._people), count):
            voice = VOICES[number]
            person = await person_in(self._scene.browser_of(number), voice.name)
            await person.enter(self._scene.url, self._topology, f"&topology={self._topology}")
            self._people.append(person)
            if number < IMPAIRED:
                await person.load({each.name: self._monologue(each) for each in VOICES[:IMPAIRED]})
        await asyncio.gather(
            *(
                one.hears(other.identity)
                for one in self._people
                for other in self._people
                if one is not other
            ),
            *(person.mulisa_is("listening") for person in self._people),
        )
        for listener, speaker in self._directions:
            await listener.listen(speaker.identity)

    async def under(self, impairment: Impairment) -> list[Figure]:
        """All metrics of this network; none if they cannot be measured, which is told."""
        where = f"{self._topology}, {len(self._people)} people: {impairment.name}"
        self._bench.say(where)
        try:
            async with asyncio.timeout(LONGEST):
                return await self._under(impairment)
        except FAILURES as error:
            check_wanted(error)
            self._bench.remark(f"not measured ({where}): {error}")
            return []

    async def _under(self, impairment: Impairment) -> list[Figure]:
        book = Book(self._topology, len(self._people))
        begin, written = now(), len(await self._written())
        with self._scene.impaired(impairment):
            await asyncio.sleep(SETTLING)
            for number in range(self._takes):
                await self._take(number, book, impairment.name)
            rates = await asyncio.gather(
                *(self._error_rate(place, written) for place in range(IMPAIRED))
            )
        book.add("impairment", "word_error_rate", [100 * rate for rate in rates], impairment.name)
        book.end_stage(("impairment",), await self._load(begin))
        return list(book.figures())

    async def end(self) -> None:
        """Everybody goes."""
        await asyncio.gather(*(person.page.context.close() for person in self._people))

    @property
    def _directions(self) -> Sequence[tuple[Person, Person]]:
        """Listener and speaker, of those with a bad network."""
        one, other = self._people[:IMPAIRED]
        return ((one, other), (other, one))

    def _monologue(self, voice: Voice) -> Samples:
        return self._bench.speech[voice.name][MONOLOGUE]

    def _line(self, place: int, take: int) -> Voice:
        """Whose words this person says; with another take they change."""
        return VOICES[(place + take) % IMPAIRED]

    async def _take(self, number: int, book: Book, condition: str) -> None:
        """Both speak, and hear each other."""
        speakers = self._people[:IMPAIRED]
        before = {person.identity: await probe.read(person) for person in speakers}
        spans = await asyncio.gather(
            *(each.say(self._line(place, number).name) for place, each in enumerate(speakers))
        )
        said = {each.identity: span for each, span in zip(speakers, spans, strict=True)}
        await asyncio.sleep(TRAVELLING)
        after = {person.identity: await probe.read(person) for person in speakers}
        for listener, speaker in self._directions:
            me = listener.identity
            made_up = concealed_percent(before[me], after[me])
            book.add("impairment", "concealed_samples", made_up, condition)
            late = delays(said[speaker.identity], await listener.heard(speaker.identity))
            book.add("impairment", "mouth_to_ear_delay", late, condition)
        if stream := one_stream([probe.traffic(before[who], after[who]) for who in before]):
            book.streams[condition] = stream

    async def _error_rate(self, place: int, before: int) -> float:
        """Of what Mulisa has written of this person's words in all takes, after so many entries."""
        loop = asyncio.get_running_loop()
        name = self._people[place].name
        said = " ".join(self._line(place, take).monologue for take in range(self._takes))
        end = loop.time() + UNDERSTANDING
        heard, since = "", loop.time()
        while loop.time() < end and loop.time() - since < _is_enough(said, heard):
            entries = (await self._written())[before:]
            text = " ".join(entry["text"] for entry in entries if entry["name"] == name)
            if text != heard:
                heard, since = text, loop.time()
            await asyncio.sleep(_LOOK)
        return word_error_rate(said, heard)

    async def _written(self) -> list[dict[str, str]]:
        path = f"/api/rooms/{self._topology}/transcript?format=json"
        async with self._scene.operator.get(path) as response:
            if response.status == 404:
                return []  # nobody has said a word yet
            response.raise_for_status()
            entries: list[dict[str, str]] = (await response.json(content_type=None))["entries"]
        return entries

    async def _load(self, begin: float) -> Load:
        end = now()
        late = [late_percent(await probe.stops(each), begin, end) for each in self._people]
        return self._loads.between(begin, end, max(late))


def concealed_percent(
    before: Sequence[probe.Connection], after: Sequence[probe.Connection]
) -> Iterator[float]:
    """Of the voice that most came of between two readings, how much was made up; %."""
    old = {ssrc: stream for each in before for ssrc, stream in each.received.items()}
    new = {ssrc: stream for each in after for ssrc, stream in each.received.items()}
    there = old.keys() & new
    if not there:
        return
    ssrc = max(there, key=lambda ssrc: new[ssrc].packets - old[ssrc].packets)
    samples = new[ssrc].samples - old[ssrc].samples
    if samples > 0:
        yield 100 * (new[ssrc].concealed_samples - old[ssrc].concealed_samples) / samples


def delays(said: Sequence[Span], heard: Sequence[Span]) -> list[float]:
    """From the first sound of a mouth to the first one at an ear since, in ms."""
    begin = said[0][0] if said else float("inf")
    return [1000 * (at - begin) for at, _ in heard if at > begin][:1]


def _is_enough(said: str, heard: str) -> float:
    """Seconds without anything new after which nothing more will come."""
    if not heard:
        return UNDERSTANDING
    return WRITTEN if len(heard) >= MOST * len(said) else WRITTEN_LITTLE

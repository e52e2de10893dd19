"""Who of several engines does the work now; what the three kinds of chain have in common."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
)
from tenacity.wait import wait_base

from mulisa.core.account import Stage, Trouble, budget_is_spent, report
from mulisa.core.errors import (
    BudgetSpent,
    ConfigError,
    ProviderError,
    ProviderTimeout,
    ProviderUnavailable,
)
from mulisa.core.provider import Progress, Provider
from mulisa.providers.chain.health import Health, HealthConfig

log = logging.getLogger(__name__)

E = TypeVar("E", bound=Provider)
T = TypeVar("T")

LOADING_PAUSE: Final = 30.0
"""Seconds after which an engine that could not be loaded is tried again, doubled each time."""
MAX_LOADING_PAUSE: Final = 600.0
WEIGHT: Final = 0.3
"""Of the latest time in what is usual for an engine."""
UNUSUAL: Final = 4.0
"""An engine that takes so many times as long as usual hangs."""
MAX_RETRY_AFTER: Final = 2.0
"""Seconds; a service that wants to be asked later than this is not asked again for the request."""


@dataclass(frozen=True, slots=True)
class ChainConfig:
    """Patience with engines; seconds."""

    first: float = 1.2
    """Until the first piece of a result, from an engine that another can replace now."""
    last_first: float = 8.0
    """The most from one that nobody can replace; less from one that usually is quick."""
    gap: float = 1.0
    """Between two pieces of a result; more for an engine that is alone, or when the result has
    broken off several times: it may just come slowly.
    """
    max_gap: float = 4.0
    """The most of that."""
    rounds: int = 3
    """All engines are asked so many times before a request is given up."""
    backoff: float = 0.25
    """Between the first two rounds; doubled for each further one."""
    max_backoff: float = 1.0
    max_takeovers: int = 4
    """So many times one result may break off and be finished."""
    max_late: float = 180.0
    """How long what could not be transcribed is kept and tried again."""
    max_late_backoff: float = 5.0
    health: HealthConfig = field(default_factory=HealthConfig)


@dataclass(slots=True, eq=False)
class Member(Generic[E]):
    """One engine of a chain."""

    engine: E
    health: Health
    is_loaded: bool = True
    usual: float | None = None
    """Seconds that it usually takes until its first piece; None: not known yet."""
    allowance: float = 1.0
    """More while it takes longer than that; it may only be slow today."""
    broke: str = ""
    """What it said when a room's budget was used up; for such a room it is not there."""
    was_troubled: bool = False
    """It was reported once; so its recovery is, too."""

    @property
    def label(self) -> str:
        """As people know it."""
        return self.engine.label

    def answered(self, seconds: float) -> None:
        """It took so long."""
        former = self.usual
        self.usual = seconds if former is None else former + WEIGHT * (seconds - former)
        self.allowance = 1.0


class Rota(Generic[E]):
    """The engines of a chain in order of preference, and how each of them is."""

    def __init__(self, stage: Stage, engines: Sequence[E], config: ChainConfig) -> None:
        if not engines:
            raise ConfigError(f"a chain of {stage.upper()} engines needs at least one")
        self.config = config
        self._stage = stage
        self._members = [Member(engine, Health(config.health)) for engine in engines]
        self._loading: asyncio.Task[None] | None = None
        self._work = asyncio.Event()

    @property
    def label(self) -> str:
        """All of them, in order."""
        return ", then ".join(member.label for member in self._members)

    @property
    def engines(self) -> list[E]:
        """Those that are loaded, in order."""
        return [member.engine for member in self._members if member.is_loaded]

    # Loading

    async def load(self, progress: Progress) -> None:
        """Load all. What fails is tried again in the background, if at least one is loaded.

        Raises ProviderUnavailable that names every failure, and ConfigError.
        """
        await self._stop_loading()
        loading = (self._load(member, progress) for member in self._members)
        failures = await asyncio.gather(*loading, return_exceptions=True)
        for failure in failures:
            if failure is not None and not isinstance(failure, ProviderError):
                raise failure
        errors = [failure for failure in failures if isinstance(failure, ProviderError)]
        if len(errors) == len(self._members):
            raise _as_one(errors)
        for error in errors:
            log.warning("%s; it is tried again later", error)
        if errors:
            # It works for no room, although a room's task may have asked for it.
            self._loading = asyncio.create_task(self._load_later(), context=Context())

    async def aclose(self) -> None:
        """Free all of them. Idempotent."""
        await self._stop_loading()
        closing = (member.engine.aclose() for member in self._members)
        await asyncio.gather(*closing, return_exceptions=True)

    async def _load(self, member: Member[E], progress: Progress) -> ProviderError | None:
        member.is_loaded = False
        try:
            await member.engine.load(progress)
        except ConfigError:
            raise
        except Exception as error:  # an engine of somebody else may raise anything
            failure = self.translated(member, error)
            member.health.reason = str(failure)
            await asyncio.gather(member.engine.aclose(), return_exceptions=True)
            return failure
        member.is_loaded = True
        return None

    async def _load_later(self) -> None:
        pause = LOADING_PAUSE
        while missing := [member for member in self._members if not member.is_loaded]:
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_LOADING_PAUSE)
            for member in missing:
                await self._load_again(member)

    async def _load_again(self, member: Member[E]) -> None:
        try:
            error = await self._load(member, lambda doing, fraction: None)
        except ConfigError as wrong:
            log.warning("%s", wrong)
            return
        if error is None:
            member.health.worked()
            log.info("%s is there now", member.label)

    async def _stop_loading(self) -> None:
        loading, self._loading = self._loading, None
        if loading is not None:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)

    # Working

    async def ask(
        self,
        attempt: Callable[[Member[E], float], Awaitable[T]],
        *,
        first: Member[E] | None = None,
        last: Member[E] | None = None,
    ) -> tuple[Member[E], T]:
        """One round: the result of the first engine that has one, and which it is.

        `attempt` is given an engine and the seconds that it has. `first` is asked before the
        others unless it rests, `last` after them. Raises a ProviderError: one that a retry may
        mend, if there was one.
        """
        failures: list[ProviderError] = []
        candidates = self._candidates(first, last)
        for number, member in enumerate(candidates):
            successors = candidates[number + 1 :]
            patience, began = self._patience(member), _now()
            is_probe = member.health.probe(began)
            try:
                result = await attempt(member, patience)
                member.answered(_now() - began)
                return member, result
            except Exception as error:  # an engine of somebody else may raise anything
                if isinstance(error, TimeoutError):
                    member.allowance *= 2.0
                successor = successors[0] if successors else None
                failures.append(self.failed(member, error, successor))
            finally:
                if is_probe:
                    member.health.probed()
        raise next((error for error in failures if error.retryable), failures[-1])

    def _patience(self, member: Member[E]) -> float:
        """Seconds until its first piece."""
        config = self.config
        if self.successor(member) is not None:
            return config.first
        if member.usual is None:
            patience = 2 * config.first if len(self._members) > 1 else config.last_first
        else:
            patience = max(config.first, UNUSUAL * member.usual)
        return min(patience * member.allowance, config.last_first)

    def opener(self) -> list[Member[E]]:
        """Whom to ask now, in order; never empty. Tells the room who is passed over."""
        return self._candidates(None, None)

    def successor(self, member: Member[E]) -> Member[E] | None:
        """Who goes on if this engine fails now: one that does not rest."""
        return next((other for other in self.ready() if other is not member), None)

    def ready(self) -> list[Member[E]]:
        """Those that are loaded and do not rest, in order."""
        now, is_spent = _now(), budget_is_spent()
        return [
            member
            for member in self._members
            if member.is_loaded and not member.health.rests(now) and not (is_spent and member.broke)
        ]

    def gap(self, takeovers: int) -> float:
        """Seconds that may pass between two pieces of a result that broke off so many times."""
        doublings = takeovers + 1 if len(self._members) == 1 else max(0, takeovers - 2)
        return min(self.config.gap * 2.0**doublings, self.config.max_gap)

    def failed(
        self, member: Member[E], error: Exception, successor: Member[E] | None
    ) -> ProviderError:
        """It failed in a request of this room, which goes to `successor`; in our words."""
        failure = self.translated(member, error)
        if isinstance(failure, BudgetSpent):  # the room's own affair, and not the engine's
            member.broke = str(failure)
        else:
            member.health.failed(failure, _now())
        log.info("%s failed: %s", member.label, failure)
        self._report(member, str(failure), successor)
        return failure

    def worked(self, member: Member[E]) -> None:
        """It did what this room asked for."""
        member.health.worked()
        work, self._work = self._work, asyncio.Event()
        work.set()
        now = _now()
        place = self._members.index(member)
        for other in self._members[place:]:
            if other is member or (other.is_loaded and not other.health.rests(now)):
                self._report_recovery(other)

    async def wait_for_work(self, limit: float) -> None:
        """Wait until any of them does what anybody asked for, or `limit` seconds."""
        try:
            async with asyncio.timeout(limit):
                await self._work.wait()
        except TimeoutError:
            return

    def translated(self, member: Member[E], error: Exception) -> ProviderError:
        """What it raised, in our words."""
        if isinstance(error, ProviderError):
            return error
        if isinstance(error, TimeoutError):
            return ProviderTimeout(f"{member.label} did not answer in time")
        log.warning("%s failed unexpectedly", member.label, exc_info=error)
        return ProviderError(f"{member.label} failed unexpectedly ({type(error).__name__})")

    def _available(self) -> list[Member[E]]:
        return self.ready() or [member for member in self._members if member.is_loaded]

    def _candidates(self, first: Member[E] | None, last: Member[E] | None) -> list[Member[E]]:
        """All that do not rest; if all do, all: they cannot do worse than nobody."""
        available = self._available() or self._members
        for member in self._members[: self._members.index(available[0])]:
            broke = member.broke if budget_is_spent() else ""
            self._report(member, broke or member.health.reason, available[0])
        return sorted(available, key=lambda member: (member is last, member is not first))

    def _report(self, member: Member[E], reason: str, successor: Member[E] | None) -> None:
        member.was_troubled = True
        label = successor.label if successor is not None else ""
        report(Trouble(self._stage, member.label, reason or "it failed", label))

    def _report_recovery(self, member: Member[E]) -> None:
        if member.was_troubled:
            report(Trouble(self._stage, member.label, ""))


def retries(config: ChainConfig) -> AsyncRetrying:
    """Rounds of one request, with pauses between them."""
    return AsyncRetrying(
        stop=stop_after_attempt(config.rounds),
        wait=pauses(config.backoff, config.max_backoff),
        retry=retry_if_exception(_may_help),
        sleep=asyncio.sleep,
        reraise=True,
    )


def pauses(first: float, longest: float) -> wait_base:
    """Each twice as long as the one before, and at least as long as the service asked for."""
    return _Pause(wait_exponential(first, max=longest))


class _Pause(wait_base):
    def __init__(self, usual: wait_base) -> None:
        self._usual = usual

    def __call__(self, retry_state: RetryCallState) -> float:
        failure = retry_state.outcome.exception() if retry_state.outcome else None
        return max(self._usual(retry_state), retry_after(failure))


def retry_after(error: BaseException | None) -> float:
    """Seconds after which the service wants to be asked again; 0 if it said nothing."""
    return (isinstance(error, ProviderError) and error.retry_after) or 0.0


def _may_help(error: BaseException) -> bool:
    """Trying again may mend it, and while somebody waits for an answer."""
    is_worth_it = retry_after(error) <= MAX_RETRY_AFTER
    return isinstance(error, ProviderError) and error.retryable and is_worth_it


def _as_one(errors: Sequence[ProviderError]) -> ProviderError:
    if len(errors) == 1:
        return errors[0]
    return ProviderUnavailable("; ".join(dict.fromkeys(str(error) for error in errors)))


def _now() -> float:
    return asyncio.get_running_loop().time()

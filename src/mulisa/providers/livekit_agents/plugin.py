"""A plugin found, imported, constructed and closed; what it needs to live outside of LiveKit."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import logging
import os
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from contextvars import Context
from typing import Any, Final, Literal, TypeAlias, TypeVar

from mulisa.core.errors import ConfigError, ProviderError, ProviderUnavailable
from mulisa.core.provider import Progress
from mulisa.core.secrets import keep_secret
from mulisa.providers.livekit_agents.failures import Translation, said_by
from mulisa.providers.livekit_agents.spec import PluginSpec, arguments

log = logging.getLogger(__name__)

T = TypeVar("T")
Base: TypeAlias = Literal["STT", "LLM", "TTS"]

ANSWER_TIMEOUT: Final = 10.0
"""Seconds until the first piece of an answer, and between two of them."""
CHECK_TIMEOUT: Final = 5.0
"""Seconds that the trial of a plugin that was just loaded may take."""

_VARIABLE: Final = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*_(?:KEY|TOKEN|SECRET)\b")


class Plugin:
    """One engine of one plugin."""

    def __init__(self, base: Base, text: str, language: str = "") -> None:
        """`text` is what follows ``livekit:``, `language` is given if the plugin takes one.

        Raises ConfigError, and ProviderUnavailable if the plugin is not installed.
        """
        self.spec = PluginSpec.parse(text)
        self._base = base
        self._defaults = {"language": language} if language else {}
        self._engine: Any = None
        self._agents: Any = None
        self._translation: Translation | None = None
        self._context = Context()
        self._stack: AsyncExitStack | None = None
        _check_installed(self.spec.name)

    @property
    def name(self) -> str:
        """Whose it is, for accounts and people: ``deepgram``."""
        return self.spec.name

    @property
    def label(self) -> str:
        """Plugin and model."""
        return f"{' '.join(filter(None, (self.name, self._model())))} (LiveKit plugin)"

    @property
    def engine(self) -> Any:
        """The plugin's own object. Raises ProviderUnavailable."""
        if self._engine is None:
            raise ProviderUnavailable(f"the plugin {self.name} is not loaded")
        return self._engine

    @property
    def agents(self) -> Any:
        """The module `livekit.agents`."""
        return self._agents

    @property
    def options(self) -> Any:
        """For each request: the plugin tries once; who tries again, and when, is decided here."""
        return self._agents.APIConnectOptions(max_retry=0, timeout=ANSWER_TIMEOUT)

    @property
    def translation(self) -> Translation:
        """Turns what the plugin raises into our errors."""
        if self._translation is None:
            raise ProviderUnavailable(f"the plugin {self.name} is not loaded")
        return self._translation

    async def load(self, progress: Progress, trial: Callable[[], Awaitable[None]]) -> None:
        """Import and construct it, then try it once.

        Raises ProviderUnavailable if it is not installed, lacks its key or is refused; what is
        merely out of reach now is a warning. Raises ConfigError for options that it has not.
        """
        await self.aclose()
        progress(f"importing LiveKit's plugin {self.name}", None)
        factory = await self._import()
        await self._construct(factory)
        progress(f"asking {self.name}", None)
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                await trial()
        except TimeoutError:
            log.warning("%s does not answer in time; it is asked again when needed", self.name)
        except ProviderError as error:
            if isinstance(error, ProviderUnavailable) and not error.retryable:
                raise
            log.warning("%s; it is asked again when it is needed", error)

    def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call what starts a stream, so that the plugin finds its HTTP session."""
        return self._context.copy().run(function, *args, **kwargs)

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The same for what is awaited."""
        return await asyncio.create_task(coroutine, context=self._context.copy())

    async def aclose(self) -> None:
        """Close the plugin and its HTTP session. Idempotent."""
        self._engine = None
        stack, self._stack = self._stack, None
        if stack is not None:
            try:
                await asyncio.create_task(stack.aclose(), context=self._context)
            except Exception as error:  # a plugin may raise anything
                log.warning("the plugin %s did not close: %s", self.name, said_by(error))

    async def _import(self) -> Callable[..., Any]:
        """The class that is meant."""
        try:
            self._agents = await asyncio.to_thread(importlib.import_module, "livekit.agents")
            # It registers itself, which LiveKit allows on the main thread only.
            module = importlib.import_module(f"livekit.plugins.{self.name}")
        except ImportError as error:
            _check_installed(self.name)
            raise ProviderUnavailable(
                f"the plugin {self.name} needs a package; pip install {error.name or error}"
            ) from error
        except Exception as error:  # a plugin may do anything when it is imported
            raise ProviderUnavailable(
                f"the plugin {self.name} cannot be imported: {said_by(error)}"
            ) from error
        return self._find(module)

    def _find(self, module: Any) -> Callable[..., Any]:
        found: Any = module
        for part in self.spec.path:
            found = getattr(found, part, None)
        if inspect.ismodule(found):
            found = getattr(found, self._base, None)
        base = getattr(getattr(self._agents, self._base.lower()), self._base)
        if not (inspect.isclass(found) and issubclass(found, base)):
            name = ".".join((self.name, *self.spec.path))
            raise ConfigError(f"LiveKit's plugin {name} has no {self._base} engine; name another")
        engine: Callable[..., Any] = found
        return engine

    async def _construct(self, factory: Callable[..., Any]) -> None:
        _keep_secrets()
        variables = _variables(factory)
        given = arguments(factory, self.spec, self._defaults)
        self._translation = Translation(self._agents, self.name, " or ".join(variables))
        self._context = Context()  # a plugin works for all rooms, so for none
        self._stack = AsyncExitStack()
        try:
            await asyncio.create_task(self._furnish(self._stack), context=self._context)
            self._engine = self.call(factory, **given)
        except Exception as error:  # a plugin may raise anything
            await self.aclose()
            mend = f"; set {variables[0]}" if variables and not _is_set(variables) else ""
            raise ProviderUnavailable(
                f"the plugin {self.name} does not start: {said_by(error)}{mend}"
            ) from error
        self._stack.push_async_callback(_close, self._engine)

    async def _furnish(self, stack: AsyncExitStack) -> None:
        """Outside of LiveKit's own processes plugins have no HTTP session."""
        await stack.enter_async_context(self._agents.utils.http_context.open())

    def _model(self) -> str:
        if self.spec.model or self._engine is None:
            return self.spec.model
        model = getattr(self._engine, "model", "")
        return model if isinstance(model, str) and model != "unknown" else ""


async def pieces(source: Any) -> AsyncGenerator[Any, None]:
    """What a plugin's stream yields; it is closed at the end.

    TimeoutError when one piece takes longer than `ANSWER_TIMEOUT`, and what the plugin raises.
    """
    async with source:
        while True:
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT):
                    piece = await anext(source)
            except StopAsyncIteration:
                return
            yield piece


def _check_installed(name: str) -> None:
    """Raises ProviderUnavailable with the command to run."""
    for module in ("livekit.agents", f"livekit.plugins.{name}"):
        try:
            is_there = importlib.util.find_spec(module) is not None
        except ImportError:
            is_there = False
        if not is_there:
            package = f"livekit-plugins-{name.replace('_', '-')}"
            raise ProviderUnavailable(
                f"livekit:{name} needs packages; pip install livekit-agents {package}"
            )


async def _close(engine: Any) -> None:
    await engine.aclose()
    client = getattr(engine, "_client", None)  # OpenAI's recogniser leaves its own open
    if inspect.iscoroutinefunction(close := getattr(client, "close", None)):
        await close()


def _keep_secrets() -> None:
    """Plugins read their keys from the environment; here that keeps them from being shown."""
    for name, value in os.environ.items():
        if _VARIABLE.fullmatch(name):
            keep_secret(value)


def _is_set(variables: Sequence[str]) -> bool:
    return any(os.environ.get(variable) for variable in variables)


def _variables(factory: Callable[..., Any]) -> tuple[str, ...]:
    """The variables that a constructor reads its keys from, as its source or its module's says."""
    places: tuple[Any, ...] = (getattr(factory, "__init__", factory), inspect.getmodule(factory))
    for thing in places:
        with suppress(OSError, TypeError):
            if found := _VARIABLE.findall(inspect.getsource(thing)):
                return tuple(dict.fromkeys(found))
    return ()

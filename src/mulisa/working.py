"""``mulisa worker``: the agent process, alone or supervised by ``mulisa serve``."""

from __future__ import annotations

from mulisa.app import build_engines, build_persona, close_engines, run_session
from mulisa.config import Config, load_api_keys
from mulisa.core.errors import MulisaError
from mulisa.core.transport import Transport
from mulisa.providers.registry import Kind
from mulisa.store.transcript import TranscriptStore
from mulisa.worker.link import WorkerConfig
from mulisa.worker.metrics import AgentMetrics
from mulisa.worker.process import run
from mulisa.worker.status import CannotStart, EngineLoading, OnStatus


async def take_part(config: Config, on_status: OnStatus) -> None:
    """Load the engines, then serve rooms until cancelled.

    Raises MulisaError, told as `CannotStart` before, when something is missing.
    """

    def progress(kind: Kind, doing: str, fraction: float | None) -> None:
        on_status(EngineLoading(kind, doing, fraction))

    try:
        persona = build_persona(config)
        keys = load_api_keys(config)
        async with TranscriptStore(config.data) as store:
            engines = await build_engines(config, persona, progress)
            metrics = AgentMetrics()

            async def session(transport: Transport) -> None:
                metrics.session_started()
                try:
                    await run_session(transport, engines, persona, store, metrics)
                finally:
                    metrics.session_ended()

            worker = WorkerConfig(
                url=config.livekit_url,
                api_key=keys.key,
                api_secret=keys.secret,
                identity=persona.identity,
                name=persona.name,
            )
            try:
                await run(worker, session, on_status)
            finally:
                await close_engines(engines)
    except MulisaError as error:
        on_status(CannotStart(str(error)))
        raise

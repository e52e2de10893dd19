"""``mulisa serve``: the gateway and its supervised agent process, from the first line to Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

from mulisa.announce import Announcer
from mulisa.app import build_persona
from mulisa.config import (
    ApiKeys,
    Config,
    load_api_keys,
    server_api_keys,
    share_metrics,
    worker_environment,
)
from mulisa.console import Console
from mulisa.https import tls_config
from mulisa.introduction import introduce
from mulisa.scratch import ScratchFolder
from mulisa.server.config import GatewayConfig
from mulisa.server.events import GatewayEvent, Listening
from mulisa.server.ice import ice_server
from mulisa.worker.supervisor import AgentProcessFailed, Supervisor, agent_command


def run_until_interrupted(main: Coroutine[Any, Any, None]) -> None:
    """Run on a new event loop until it ends, or a signal comes; it is ended cleanly then.

    SIGINT, SIGTERM, and SIGHUP (the terminal is closed) unless it is ignored (nohup).
    What fails inside a task group is raised as itself.
    """

    async def guarded() -> None:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGHUP, task.cancel)
        await main

    try:
        asyncio.run(guarded())
    except asyncio.CancelledError:
        pass  # SIGTERM or SIGHUP
    except BaseExceptionGroup as group:
        raise first_failure(group) from group


def first_failure(error: BaseException) -> BaseException:
    """The first exception in a group that is not one itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def serve_room(config: Config, console: Console, *, debug: bool = False) -> None:
    """Serve until cancelled. Raises ConfigError if the port is taken or a setting is wrong."""
    with ScratchFolder("metrics") as folder:
        share_metrics(folder.path)
        await _serve(config, console, debug)


async def _serve(config: Config, console: Console, debug: bool) -> None:
    from mulisa.server.gateway import serve

    keys = serving_keys(config)
    listening: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
    announce = Announcer(console, build_persona(config).name)

    def on_event(event: GatewayEvent) -> None:
        if isinstance(event, Listening):
            listening.set_result(event)
        else:
            announce(event)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(gateway_config(config, keys), on_event), name="gateway")
        place = await listening
        introduce(console, config, keys, place)
        if config.agent:
            environment = worker_environment(config, keys, place.agent_url)
            options = ("--supervised", *(["--debug"] if debug else []))
            supervisor = Supervisor(agent_command(*options), environment, announce)
            tasks.create_task(_supervise(supervisor, console), name="agent process")
        try:
            await asyncio.get_running_loop().create_future()
        finally:  # what ends from here on ends because we do
            announce.is_ending = True
            console.end_loading()


async def _supervise(supervisor: Supervisor, console: Console) -> None:
    """Keep Mulisa in the rooms; without her they go on."""
    try:
        await supervisor.run()
    except AgentProcessFailed:
        console.end_loading()
        console.fact("agent", "none; the room is served without her")


def serving_keys(config: Config) -> ApiKeys:
    """What signs the tokens: the key of the LiveKit server if there is one, else our own.

    Raises ConfigError.
    """
    return server_api_keys(config) if config.livekit_url else load_api_keys(config)


def gateway_config(config: Config, keys: ApiKeys) -> GatewayConfig:
    """What the gateway needs of the settings. Raises ConfigError for one that is wrong."""
    persona = build_persona(config)
    return GatewayConfig(
        api_key=keys.key,
        api_secret=keys.secret,
        data_dir=config.data,
        host=config.listen_host,
        port=config.port,
        tls=tls_config(config),
        trusted_proxies=config.trusted_proxies,
        topology=config.topology,
        livekit_url=config.livekit_url,
        rtc_port=config.media_port,
        public_address=config.public_address,
        ice_servers=tuple(map(ice_server, config.ice_servers)),
        turn_secret=config.turn_secret.get_secret_value(),
        webhooks=config.webhooks,
        agent=config.agent,
        agent_identity=persona.identity,
        agent_name=persona.name,
    )

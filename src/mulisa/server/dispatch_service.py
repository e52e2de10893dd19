"""``livekit.AgentDispatchService``: agents wished for by name, in rooms of the embedded SFU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from livekit.protocol import agent as agent_wire
from livekit.protocol import agent_dispatch as wire
from livekit.protocol.room import CreateRoomRequest

from mulisa.core.errors import InputError
from mulisa.core.room import RoomName
from mulisa.server.agents import AgentEndpoint
from mulisa.server.dispatch import Assignment
from mulisa.server.dispatch_events import Dispatch, DispatchId
from mulisa.server.twirp import Method, TwirpError, may_administer
from mulisa.sfu.errors import LimitExceeded, NotFound
from mulisa.sfu.host import Host

NAME = "livekit.AgentDispatchService"
MAX_METADATA_BYTES = 64_000

_NANOSECONDS = 1_000_000_000


class AgentDispatchService:
    """Its methods; who may call them is LiveKit's rule."""

    def __init__(
        self, host: Host, agents: AgentEndpoint, is_elsewhere: Callable[[RoomName], bool]
    ) -> None:
        """`is_elsewhere` tells of a room that is open in another topology now."""
        self._host = host
        self._agents = agents
        self._is_elsewhere = is_elsewhere

    def methods(self) -> dict[str, Method[Any]]:
        """By their names in the ``.proto`` file."""
        return {
            "CreateDispatch": Method(wire.CreateAgentDispatchRequest, may_administer, self._create),
            "DeleteDispatch": Method(wire.DeleteAgentDispatchRequest, may_administer, self._delete),
            "ListDispatch": Method(wire.ListAgentDispatchRequest, may_administer, self._list),
        }

    def _create(self, request: wire.CreateAgentDispatchRequest) -> wire.AgentDispatch:
        room = RoomName(request.room)
        if not room:
            raise InputError("a dispatch needs a room")
        if len(request.metadata.encode()) > MAX_METADATA_BYTES:
            raise LimitExceeded(f"metadata is at most {MAX_METADATA_BYTES} bytes")
        if self._is_elsewhere(room):
            raise TwirpError("failed_precondition", "that room is a mesh now")
        self._host.create_room(CreateRoomRequest(name=room))  # nothing happens to one that is there
        wanted = wire.RoomAgentDispatch(
            agent_name=request.agent_name, metadata=request.metadata, attributes=request.attributes
        )
        (wish,) = self._agents.wish(room, [wanted])
        return self._wire(room, wish, None)

    def _delete(self, request: wire.DeleteAgentDispatchRequest) -> wire.AgentDispatch:
        room = RoomName(request.room)
        wish, assignment = self._find(room, DispatchId(request.dispatch_id))
        self._agents.withdraw(room, wish.dispatch_id)
        return self._wire(room, wish, assignment)

    def _list(self, request: wire.ListAgentDispatchRequest) -> wire.ListAgentDispatchResponse:
        room = RoomName(request.room)
        found = [
            self._wire(room, wish, assignment)
            for wish, assignment in self._agents.wishes(room)
            if request.dispatch_id in ("", wish.dispatch_id)
        ]
        return wire.ListAgentDispatchResponse(agent_dispatches=found)

    def _find(self, room: RoomName, dispatch_id: DispatchId) -> tuple[Dispatch, Assignment | None]:
        for wish, assignment in self._agents.wishes(room):
            if wish.dispatch_id == dispatch_id:
                return wish, assignment
        raise NotFound("there is no such agent dispatch in that room")

    def _wire(
        self, room: RoomName, wish: Dispatch, assignment: Assignment | None
    ) -> wire.AgentDispatch:
        created_at = int(wish.created_at.timestamp() * _NANOSECONDS) if wish.created_at else 0
        state = wire.AgentDispatchState(created_at=created_at)
        if assignment:
            state.jobs.append(_job(wish, assignment))
        return wire.AgentDispatch(
            id=wish.dispatch_id,
            agent_name=wish.agent_name,
            room=room,
            metadata=wish.metadata,
            attributes=wish.attributes,
            state=state,
        )


def _job(wish: Dispatch, assignment: Assignment) -> agent_wire.Job:
    return agent_wire.Job(
        id=assignment.job_id,
        dispatch_id=wish.dispatch_id,
        type=agent_wire.JT_ROOM,
        agent_name=wish.agent_name,
        metadata=wish.metadata,
        state=agent_wire.JobState(status=agent_wire.JS_RUNNING, worker_id=assignment.worker_id),
    )

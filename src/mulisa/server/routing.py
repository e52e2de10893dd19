"""Changes of an agent's routing that are on their way to it, until it confirms them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from mulisa.core.control import RouteFailed, RouteRequest
from mulisa.core.errors import MulisaError
from mulisa.core.routing import Routing, RoutingChange
from mulisa.server.dispatch_events import JobId, WorkerId


class NotConfirmed(MulisaError):
    """Nobody can say that the change holds; the message is safe to send back."""


@dataclass(frozen=True, slots=True)
class _Request:
    worker_id: WorkerId
    job_id: JobId
    confirmation: asyncio.Future[Routing]


class RouteRequests:
    """Belongs to one event loop. What is answered by nobody, or too late, fails as NotConfirmed."""

    def __init__(self, timeout: float) -> None:
        """`timeout`: seconds for an agent to confirm."""
        self._timeout = timeout
        self._pending: dict[str, _Request] = {}

    async def ask(
        self,
        worker_id: WorkerId,
        job_id: JobId,
        change: RoutingChange,
        send: Callable[[RouteRequest], None],
    ) -> Routing:
        """Send the change to the worker of a job; return what holds when it does.

        Raises NotConfirmed.
        """
        request_id = secrets.token_hex(8)
        confirmation: asyncio.Future[Routing] = asyncio.get_running_loop().create_future()
        self._pending[request_id] = _Request(worker_id, job_id, confirmation)
        send(RouteRequest(request_id, job_id, change))
        try:
            async with asyncio.timeout(self._timeout):
                return await confirmation
        except TimeoutError as error:
            raise NotConfirmed(
                "the agent did not confirm in time; the room says what holds"
            ) from error
        finally:
            del self._pending[request_id]

    def confirm(self, worker_id: WorkerId, request_id: str, routing: Routing) -> JobId | None:
        """It is so; the job that it was asked of, if this worker was asked."""
        request = self._request(worker_id, request_id)
        if request is None:
            return None
        request.confirmation.set_result(routing)
        return request.job_id

    def fail(self, worker_id: WorkerId, failed: RouteFailed) -> None:
        """The worker could not do it."""
        if request := self._request(worker_id, failed.request_id):
            request.confirmation.set_exception(NotConfirmed(failed.error))

    def lose(self, worker_id: WorkerId, job_id: JobId | None = None) -> None:
        """A worker, or its agent of one job, is gone and answers no more."""
        for request_id, each in list(self._pending.items()):
            if each.worker_id == worker_id and job_id in (None, each.job_id):
                gone = NotConfirmed("the agent left before it confirmed; try again")
                if request := self._request(worker_id, request_id):
                    request.confirmation.set_exception(gone)

    def _request(self, worker_id: WorkerId, request_id: str) -> _Request | None:
        request = self._pending.get(request_id)
        if request is None or request.worker_id != worker_id or request.confirmation.done():
            return None
        return request

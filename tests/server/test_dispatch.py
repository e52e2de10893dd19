from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.core.room import Identity, RoomName
from mulisa.core.routing import Routing
from mulisa.server.dispatch import Assignment, Dispatcher
from mulisa.server.dispatch_events import (
    Accepted,
    AgentWished,
    AskWorker,
    AssignJob,
    ClearRoom,
    Dispatch,
    DispatchAction,
    DispatchConfig,
    DispatchEvent,
    DispatchId,
    Job,
    JobEnded,
    JobId,
    PeopleChanged,
    Refused,
    RoomEnded,
    RoutingChanged,
    TerminateJob,
    Tick,
    WishWithdrawn,
    WorkerArrived,
    WorkerDeparted,
    WorkerId,
    WorkerReported,
)

pytestmark = pytest.mark.unit

W1, W2 = WorkerId("AW_1"), WorkerId("AW_2")
ROOM, OTHER = RoomName("standup"), RoomName("retro")
ALICE, MULISA = Identity("alice-7f3k"), Identity("mulisa")
DEFAULT = Dispatch(DispatchId("AD_0"))
SCRIBE = Dispatch(DispatchId("AD_1"), "scribe", "take notes", {"ink": "blue"})
CONFIG = DispatchConfig(
    answer_timeout=10.0, departure_timeout=15.0, refusal_pause=5.0, failure_pause=1.0
)


def new_dispatcher(*workers: WorkerId) -> Dispatcher:
    numbers = count(1)
    dispatcher = Dispatcher(CONFIG, lambda: JobId(f"AJ_{next(numbers)}"), lambda: DEFAULT)
    for worker in workers:
        assert dispatcher.receive(WorkerArrived(worker), now=0.0) == []
    return dispatcher


def serving_dispatcher() -> Dispatcher:
    """Alice is in the room, and worker 1 has its job 1."""
    dispatcher = new_dispatcher(W1)
    dispatcher.receive(people(ROOM, ALICE), now=1.0)
    dispatcher.receive(Accepted(W1, JobId("AJ_1"), MULISA), now=1.0)
    return dispatcher


def people(room: RoomName, *identities: Identity) -> PeopleChanged:
    return PeopleChanged(room, "mesh", frozenset(identities))


def job(number: int, room: RoomName = ROOM) -> Job:
    return Job(JobId(f"AJ_{number}"), room, "mesh", DEFAULT)


def assigned(worker: WorkerId, number: int, identity: Identity = MULISA) -> AssignJob:
    return AssignJob(worker, job(number), identity, "", {})


def test_a_room_with_people_is_offered_and_assigned() -> None:
    dispatcher = new_dispatcher(W1)
    assert dispatcher.receive(people(ROOM, ALICE), now=1.0) == [AskWorker(W1, job(1))]
    assert dispatcher.deadline() == 11.0
    assert dispatcher.receive(Accepted(W1, JobId("AJ_1"), MULISA), now=1.5) == [assigned(W1, 1)]
    assert dispatcher.deadline() is None
    assert dispatcher.receive(people(ROOM, ALICE, Identity("bob-2222")), now=2.0) == []


def test_a_room_waits_for_a_worker() -> None:
    dispatcher = new_dispatcher()
    assert dispatcher.receive(people(ROOM, ALICE), now=1.0) == []
    assert dispatcher.deadline() is None
    assert dispatcher.receive(WorkerArrived(W1), now=60.0) == [AskWorker(W1, job(1))]


def test_a_refused_job_goes_to_another_worker_and_later_round_again() -> None:
    dispatcher = new_dispatcher(W1, W2)
    assert dispatcher.receive(people(ROOM, ALICE), now=1.0) == [AskWorker(W1, job(1))]
    assert dispatcher.receive(Refused(W1, JobId("AJ_1")), now=2.0) == [AskWorker(W2, job(2))]
    assert dispatcher.receive(Refused(W2, JobId("AJ_2")), now=3.0) == []
    assert dispatcher.deadline() == 8.0
    assert dispatcher.receive(Tick(), now=8.0) == [AskWorker(W1, job(3))]


def test_a_silent_worker_is_passed_over_and_its_late_answer_ignored() -> None:
    dispatcher = new_dispatcher(W1, W2)
    dispatcher.receive(people(ROOM, ALICE), now=1.0)
    assert dispatcher.receive(Tick(), now=11.0) == [AskWorker(W2, job(2))]
    assert dispatcher.receive(Accepted(W1, JobId("AJ_1"), MULISA), now=11.5) == []
    assert dispatcher.receive(Accepted(W2, JobId("AJ_2"), MULISA), now=12.0) == [assigned(W2, 2)]


def test_nobody_answers_for_another_worker() -> None:
    dispatcher = new_dispatcher(W1, W2)
    dispatcher.receive(people(ROOM, ALICE), now=1.0)
    assert dispatcher.receive(Accepted(W2, JobId("AJ_1"), MULISA), now=1.5) == []
    assert dispatcher.receive(Accepted(W1, JobId("AJ_1"), MULISA), now=2.0) == [assigned(W1, 1)]
    assert dispatcher.receive(JobEnded(W2, JobId("AJ_1"), failed=True), now=3.0) == []


def test_accepting_twice_assigns_once() -> None:
    dispatcher = serving_dispatcher()
    assert dispatcher.receive(Accepted(W1, JobId("AJ_1"), MULISA), now=1.1) == []


def test_a_full_worker_gets_nothing_until_it_has_space() -> None:
    dispatcher = new_dispatcher(W1)
    dispatcher.receive(WorkerReported(W1, is_full=True, load=1.0), now=0.5)
    assert dispatcher.receive(people(ROOM, ALICE), now=1.0) == []
    assert dispatcher.deadline() is None
    free = WorkerReported(W1, is_full=False, load=0.5)
    assert dispatcher.receive(free, now=2.0) == [AskWorker(W1, job(1))]


def test_a_named_worker_is_not_asked() -> None:
    dispatcher = new_dispatcher()
    dispatcher.receive(WorkerArrived(W1, "scribe"), now=0.0)
    assert dispatcher.receive(people(ROOM, ALICE), now=1.0) == []


def test_rooms_go_to_the_worker_with_fewest_then_to_the_least_loaded() -> None:
    dispatcher = new_dispatcher(W1, W2)
    dispatcher.receive(WorkerReported(W1, is_full=False, load=0.9), now=0.0)
    dispatcher.receive(WorkerReported(W2, is_full=False, load=0.1), now=0.0)
    assert dispatcher.receive(people(ROOM, ALICE), now=1.0) == [AskWorker(W2, job(1))]
    assert dispatcher.receive(people(OTHER, ALICE), now=1.0) == [AskWorker(W1, job(2, OTHER))]


def test_a_lost_workers_rooms_are_assigned_again_at_once() -> None:
    dispatcher = serving_dispatcher()
    dispatcher.receive(people(OTHER, ALICE), now=2.0)
    assert dispatcher.receive(WorkerDeparted(W1), now=3.0) == []
    again = dispatcher.receive(WorkerArrived(W2), now=4.0)
    assert again == [AskWorker(W2, job(3)), AskWorker(W2, job(4, OTHER))]
    assert dispatcher.receive(Accepted(W2, JobId("AJ_3"), MULISA), now=4.0) == [assigned(W2, 3)]


def test_an_empty_room_loses_its_agent_after_the_timeout_only() -> None:
    dispatcher = serving_dispatcher()
    assert dispatcher.receive(people(ROOM), now=10.0) == []
    assert dispatcher.deadline() == 25.0
    assert dispatcher.receive(people(ROOM), now=12.0) == [], "the agent's own events do not count"
    assert dispatcher.receive(Tick(), now=24.9) == []
    assert dispatcher.receive(Tick(), now=25.0) == [TerminateJob(W1, job(1))]
    assert dispatcher.deadline() is None
    assert dispatcher.receive(people(ROOM, ALICE), now=26.0) == [AskWorker(W1, job(2))]


def test_a_reload_does_not_lose_the_agent() -> None:
    dispatcher = serving_dispatcher()
    dispatcher.receive(people(ROOM), now=10.0)
    assert dispatcher.receive(people(ROOM, ALICE), now=12.0) == []
    assert dispatcher.deadline() is None
    assert dispatcher.receive(Tick(), now=100.0) == []


def test_who_left_before_the_answer_is_asked_for_again_on_return() -> None:
    dispatcher = new_dispatcher(W1)
    dispatcher.receive(people(ROOM, ALICE), now=1.0)
    dispatcher.receive(people(ROOM), now=1.2)
    assert dispatcher.receive(Accepted(W1, JobId("AJ_1"), MULISA), now=1.5) == []
    assert dispatcher.receive(people(ROOM, ALICE), now=3.0) == [AskWorker(W1, job(2))]


def test_a_failed_session_is_tried_again_with_growing_pauses() -> None:
    dispatcher = serving_dispatcher()
    assert dispatcher.receive(JobEnded(W1, JobId("AJ_1"), failed=True), now=5.0) == []
    assert dispatcher.deadline() == 6.0
    assert dispatcher.receive(Tick(), now=6.0) == [AskWorker(W1, job(2))]
    dispatcher.receive(Accepted(W1, JobId("AJ_2"), MULISA), now=6.0)
    dispatcher.receive(JobEnded(W1, JobId("AJ_2"), failed=True), now=7.0)
    assert dispatcher.deadline() == 9.0
    dispatcher.receive(Tick(), now=9.0)
    dispatcher.receive(Accepted(W1, JobId("AJ_3"), MULISA), now=9.0)
    dispatcher.receive(JobEnded(W1, JobId("AJ_3"), failed=True), now=100.0)
    assert dispatcher.deadline() == 101.0, "it had worked for a while"


def test_a_session_that_ended_well_is_not_repeated_until_the_room_was_empty() -> None:
    dispatcher = serving_dispatcher()
    assert dispatcher.receive(JobEnded(W1, JobId("AJ_1"), failed=False), now=5.0) == []
    assert dispatcher.receive(people(ROOM, ALICE, Identity("bob-2222")), now=6.0) == []
    dispatcher.receive(people(ROOM), now=7.0)
    assert dispatcher.receive(Tick(), now=22.0) == []
    assert dispatcher.receive(people(ROOM, ALICE), now=23.0) == [AskWorker(W1, job(2))]


@pytest.mark.parametrize("away", [0.1, 5.0, 14.9])
def test_a_room_that_was_empty_for_a_moment_begins_anew(away: float) -> None:
    dispatcher = serving_dispatcher()
    dispatcher.receive(JobEnded(W1, JobId("AJ_1"), failed=False), now=5.0)
    dispatcher.receive(people(ROOM), now=7.0)
    assert dispatcher.receive(people(ROOM, ALICE), now=7.0 + away) == [AskWorker(W1, job(2))]


def test_failures_are_forgotten_once_the_room_was_empty() -> None:
    dispatcher = serving_dispatcher()
    dispatcher.receive(JobEnded(W1, JobId("AJ_1"), failed=True), now=5.0)
    dispatcher.receive(Tick(), now=6.0)
    dispatcher.receive(people(ROOM), now=6.1)
    dispatcher.receive(people(ROOM, ALICE), now=6.2)
    dispatcher.receive(Accepted(W1, JobId("AJ_2"), MULISA), now=6.3)
    dispatcher.receive(JobEnded(W1, JobId("AJ_2"), failed=True), now=7.0)
    assert dispatcher.deadline() == 8.0, "a first failure again"


def test_the_identity_is_as_asked_unless_a_person_has_it() -> None:
    dispatcher = new_dispatcher(W1)
    dispatcher.receive(people(ROOM, MULISA, Identity("mulisa-2")), now=1.0)
    accepted = Accepted(W1, JobId("AJ_1"), MULISA, "Mulisa", {"a": "b"})
    assert dispatcher.receive(accepted, now=1.0) == [
        AssignJob(W1, job(1), Identity("mulisa-3"), "Mulisa", {"a": "b"})
    ]


def test_an_agent_that_is_left_alone_without_a_job_is_put_out() -> None:
    """Its worker's connection was lost, and before it was back the people left."""
    dispatcher = serving_dispatcher()
    with_agent = PeopleChanged(ROOM, "mesh", frozenset({ALICE}), has_agent=True)
    dispatcher.receive(with_agent, now=2.0)
    dispatcher.receive(WorkerDeparted(W1), now=3.0)
    alone = PeopleChanged(ROOM, "mesh", frozenset(), has_agent=True)
    dispatcher.receive(alone, now=4.0)
    assert dispatcher.receive(WorkerArrived(W2), now=5.0) == []
    assert dispatcher.receive(Tick(), now=19.0) == [ClearRoom(ROOM, "mesh")]
    assert dispatcher.receive(people(ROOM), now=19.0) == []
    assert dispatcher.deadline() is None


def test_an_agent_that_comes_to_an_empty_room_is_put_out() -> None:
    """It was in a room of the former gateway, and is the only one to come back."""
    dispatcher = new_dispatcher(W1)
    dispatcher.receive(PeopleChanged(ROOM, "mesh", frozenset(), has_agent=True), now=2.0)
    assert dispatcher.receive(Tick(), now=17.0) == [ClearRoom(ROOM, "mesh")]


def test_whatever_concerns_strangers_is_ignored() -> None:
    dispatcher = serving_dispatcher()
    strange = WorkerId("AW_9")
    for event in (
        WorkerReported(strange, is_full=False, load=0.0),
        WorkerDeparted(strange),
        Accepted(strange, JobId("AJ_1"), MULISA),
        Refused(W1, JobId("AJ_9")),
        JobEnded(W1, JobId("AJ_9"), failed=True),
        people(OTHER),
    ):
        assert dispatcher.receive(event, now=2.0) == []
    assert dispatcher.deadline() is None


WORKERS = st.sampled_from([W1, W2])
JOBS = st.integers(1, 12).map(lambda number: JobId(f"AJ_{number}"))
EVENTS = st.one_of(
    st.builds(WorkerArrived, WORKERS, st.sampled_from(["", "scribe"])),
    st.builds(WorkerReported, WORKERS, st.booleans(), st.just(0.5)),
    st.builds(WorkerDeparted, WORKERS),
    st.builds(Accepted, WORKERS, JOBS, st.just(MULISA)),
    st.builds(Refused, WORKERS, JOBS),
    st.builds(JobEnded, WORKERS, JOBS, st.booleans()),
    st.builds(
        PeopleChanged,
        st.sampled_from([ROOM, OTHER]),
        st.just("mesh"),
        st.frozensets(st.sampled_from([ALICE, Identity("bob-2222")])),
        st.booleans(),
    ),
    st.just(Tick()),
    st.builds(AgentWished, st.just(ROOM), st.just("mesh"), st.just(SCRIBE), st.booleans()),
    st.just(WishWithdrawn(ROOM, SCRIBE.dispatch_id)),
    st.builds(RoomEnded, st.sampled_from([ROOM, OTHER])),
)
Place = tuple[RoomName, DispatchId]


@given(st.lists(st.tuples(EVENTS, st.floats(0.0, 8.0)), max_size=40))
def test_no_wish_ever_has_two_agents(timeline: list[tuple[DispatchEvent, float]]) -> None:
    dispatcher, now = new_dispatcher(), 0.0
    holders: dict[Place, AssignJob] = {}
    for event, pause in timeline:
        now += pause
        if isinstance(event, WorkerDeparted):
            holders = {p: h for p, h in holders.items() if h.worker_id != event.worker_id}
        if isinstance(event, JobEnded):
            ended = (event.worker_id, event.job_id)
            holders = {p: h for p, h in holders.items() if (h.worker_id, h.job.job_id) != ended}
        for action in dispatcher.receive(event, now):
            check(action, holders)
        deadline = dispatcher.deadline()
        assert deadline is None or deadline > now, "a deadline that is past would spin"


def check(action: DispatchAction, holders: dict[Place, AssignJob]) -> None:
    if isinstance(action, ClearRoom):
        assert all(room != action.room for room, _ in holders)
        return
    place = action.job.room, action.job.dispatch.dispatch_id
    match action:
        case AskWorker():
            assert place not in holders
        case AssignJob():
            assert place not in holders
            others = {h.identity for (room, _), h in holders.items() if room == place[0]}
            assert action.identity not in others
            holders[place] = action
        case TerminateJob(worker_id, ended_job):
            held = holders.pop(place)
            assert (held.worker_id, held.job.job_id) == (worker_id, ended_job.job_id)


def test_a_room_keeps_its_routing_for_the_next_agent_until_it_ends() -> None:
    dispatcher = serving_dispatcher()
    deaf = Routing(frozenset({ALICE}))
    dispatcher.receive(RoutingChanged(ROOM, deaf), now=2.0)
    assert dispatcher.routing(ROOM) == deaf
    dispatcher.receive(WorkerDeparted(W1), now=3.0)
    dispatcher.receive(WorkerArrived(W2), now=4.0)
    (again,) = dispatcher.receive(Accepted(W2, JobId("AJ_2"), MULISA), now=5.0)
    assert isinstance(again, AssignJob) and again.routing == deaf
    dispatcher.receive(people(ROOM), now=6.0)
    assert dispatcher.routing(ROOM) == deaf, "a reload undoes nothing"
    dispatcher.receive(Tick(), now=21.0)
    assert dispatcher.routing(ROOM) == Routing()


def test_routing_of_a_room_without_people_is_not_kept() -> None:
    dispatcher = new_dispatcher()
    dispatcher.receive(RoutingChanged(ROOM, Routing(frozenset({ALICE}))), now=1.0)
    assert dispatcher.routing(ROOM) == Routing()


def test_who_has_the_job_of_a_room() -> None:
    dispatcher = new_dispatcher(W1)
    dispatcher.receive(people(ROOM, ALICE), now=1.0)
    assert dispatcher.assignment(ROOM) is None, "it was only asked"
    dispatcher.receive(Accepted(W1, JobId("AJ_1"), MULISA, is_routable=True), now=1.0)
    assert dispatcher.assignment(ROOM) == Assignment(W1, JobId("AJ_1"), is_routable=True)
    assert dispatcher.assignment(OTHER) is None
    assert dispatcher.room_of(W1, JobId("AJ_1")) == ROOM
    assert dispatcher.room_of(W2, JobId("AJ_1")) is None
    dispatcher.receive(JobEnded(W1, JobId("AJ_1"), failed=False), now=2.0)
    assert dispatcher.assignment(ROOM) is None


def test_a_room_that_is_opened_in_another_topology_is_another_room() -> None:
    dispatcher = serving_dispatcher()
    dispatcher.receive(people(ROOM), now=2.0)
    moved = PeopleChanged(ROOM, "sfu", frozenset({ALICE}))
    there = Job(JobId("AJ_2"), ROOM, "sfu", DEFAULT)
    assert dispatcher.receive(moved, now=3.0) == [TerminateJob(W1, job(1)), AskWorker(W1, there)]
    assert dispatcher.receive(people(ROOM), now=4.0) == [], "the mesh room ends a little later"
    accepted = Accepted(W1, JobId("AJ_2"), MULISA)
    assert dispatcher.receive(accepted, now=5.0) == [AssignJob(W1, there, MULISA, "", {})]


def scribe_job(number: int) -> Job:
    return Job(JobId(f"AJ_{number}"), ROOM, "sfu", SCRIBE)


def wished(is_instead: bool = False) -> AgentWished:
    return AgentWished(ROOM, "sfu", SCRIBE, is_instead)


def in_sfu(*identities: Identity, has_agent: bool = False) -> PeopleChanged:
    return PeopleChanged(ROOM, "sfu", frozenset(identities), has_agent)


def dispatcher_with_scribe() -> Dispatcher:
    """Worker 1 takes every room, worker 2 is named scribe."""
    dispatcher = new_dispatcher(W1)
    dispatcher.receive(WorkerArrived(W2, "scribe"), now=0.0)
    return dispatcher


def test_a_wish_is_for_the_workers_of_that_name_and_comes_ahead_of_people() -> None:
    dispatcher = dispatcher_with_scribe()
    assert dispatcher.receive(wished(), now=1.0) == [AskWorker(W2, scribe_job(1))]
    accepted = Accepted(W2, JobId("AJ_1"), MULISA, "Scribe", {"pen": "new"})
    both = {"ink": "blue", "pen": "new"}
    assert dispatcher.receive(accepted, now=1.0) == [
        AssignJob(W2, scribe_job(1), MULISA, "Scribe", both)
    ]
    assert dispatcher.receive(in_sfu(has_agent=True), now=2.0) == []
    assert dispatcher.deadline() is None, "it waits for people as long as the room does"
    ordinary = Job(JobId("AJ_2"), ROOM, "sfu", DEFAULT)
    assert dispatcher.receive(in_sfu(ALICE, has_agent=True), now=60.0) == [AskWorker(W1, ordinary)]
    second = Accepted(W1, JobId("AJ_2"), MULISA)
    assert dispatcher.receive(second, now=60.0) == [
        AssignJob(W1, ordinary, Identity("mulisa-2"), "", {})
    ]
    assert dispatcher.wishes(ROOM) == [
        (SCRIBE, Assignment(W2, JobId("AJ_1"), is_routable=False)),
        (DEFAULT, Assignment(W1, JobId("AJ_2"), is_routable=False)),
    ]


def test_a_wish_waits_for_its_worker() -> None:
    dispatcher = new_dispatcher(W1)
    assert dispatcher.receive(wished(), now=1.0) == []
    assert dispatcher.deadline() is None
    assert dispatcher.receive(WorkerArrived(W2, "scribe"), now=90.0) == [
        AskWorker(W2, scribe_job(1))
    ]


def test_a_worker_that_wants_one_job_a_participant_is_not_asked() -> None:
    dispatcher = new_dispatcher()
    dispatcher.receive(WorkerArrived(W1, serves_rooms=False), now=0.0)
    assert dispatcher.receive(in_sfu(ALICE), now=1.0) == []


def test_a_room_that_is_made_with_wishes_gets_nobody_else() -> None:
    dispatcher = dispatcher_with_scribe()
    assert dispatcher.receive(wished(is_instead=True), now=1.0) == [AskWorker(W2, scribe_job(1))]
    assert dispatcher.receive(in_sfu(ALICE), now=2.0) == []
    assert [wish for wish, _ in dispatcher.wishes(ROOM)] == [SCRIBE]


def test_a_wish_that_is_withdrawn_ends_its_job_only() -> None:
    dispatcher = dispatcher_with_scribe()
    dispatcher.receive(in_sfu(ALICE), now=1.0)
    dispatcher.receive(Accepted(W1, JobId("AJ_1"), MULISA), now=1.0)
    dispatcher.receive(wished(), now=2.0)
    dispatcher.receive(Accepted(W2, JobId("AJ_2"), MULISA), now=2.0)
    withdrawn = WishWithdrawn(ROOM, SCRIBE.dispatch_id)
    assert dispatcher.receive(withdrawn, now=3.0) == [TerminateJob(W2, scribe_job(2))]
    assert dispatcher.receive(withdrawn, now=4.0) == []
    assert dispatcher.assignment(ROOM) == Assignment(W1, JobId("AJ_1"), is_routable=False)


def test_a_wish_lives_as_long_as_its_room_and_its_job_as_long_as_people_are_there() -> None:
    dispatcher = dispatcher_with_scribe()
    dispatcher.receive(wished(is_instead=True), now=1.0)
    dispatcher.receive(Accepted(W2, JobId("AJ_1"), MULISA), now=1.0)
    dispatcher.receive(in_sfu(ALICE), now=2.0)
    dispatcher.receive(in_sfu(), now=3.0)
    assert dispatcher.receive(Tick(), now=18.0) == [TerminateJob(W2, scribe_job(1))]
    assert dispatcher.deadline() is None
    assert dispatcher.receive(in_sfu(ALICE), now=30.0) == [AskWorker(W2, scribe_job(2))]
    dispatcher.receive(Accepted(W2, JobId("AJ_2"), MULISA), now=30.0)
    assert dispatcher.receive(RoomEnded(ROOM), now=31.0) == [TerminateJob(W2, scribe_job(2))]
    assert dispatcher.wishes(ROOM) == []
    ordinary = Job(JobId("AJ_3"), ROOM, "sfu", DEFAULT)
    assert dispatcher.receive(in_sfu(ALICE), now=32.0) == [AskWorker(W1, ordinary)]


def test_who_takes_routing_is_asked_for_it() -> None:
    dispatcher = dispatcher_with_scribe()
    dispatcher.receive(wished(), now=1.0)
    dispatcher.receive(Accepted(W2, JobId("AJ_1"), MULISA), now=1.0)
    dispatcher.receive(in_sfu(ALICE), now=2.0)
    dispatcher.receive(Accepted(W1, JobId("AJ_2"), MULISA, is_routable=True), now=2.0)
    assert dispatcher.assignment(ROOM) == Assignment(W1, JobId("AJ_2"), is_routable=True)

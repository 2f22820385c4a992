"""Consuming: acknowledged when the work is done and not before; given back when it is not; in doubt served again."""

import logging
from collections.abc import Callable

import anyio
import pytest

from support.client_ways import QUICK, Leave, Use
from support.fake_api import KEY, FakeApi, FakeTransport, Fault
from telewarden_http.client import (
    AcknowledgementsNotSent,
    AsyncClient,
    Client,
    Delivery,
    KeyRefused,
)

TEXTS = [f"post {number}" for number in range(1, 8)]


class WorkFailed(Exception):
    """The body of the loop raises it."""


class Worker:
    """Keeps what it worked on, and leaves the loop when it gets something after the last."""

    def __init__(self, api: FakeApi, last: str = "the end") -> None:
        self.api, self.last = api, last
        self.got: list[Delivery] = []

    def __call__(self, delivery: Delivery) -> Callable[[], bool] | None:
        text = delivery.message.text
        if text == self.last:
            raise Leave
        assert text not in self.api.done(), "acknowledged before the work was done"
        self.got.append(delivery)
        return None

    @property
    def texts(self) -> list[str | None]:
        return [delivery.message.text for delivery in self.got]


def test_what_was_worked_on_is_acknowledged_and_what_is_in_hand_at_a_break_is_not(
    use: Use, api: FakeApi
) -> None:
    api.post(*TEXTS, "the end", "and after")
    worker = Worker(api)
    use.consume(api, worker, batch=3)
    assert worker.texts == TEXTS
    assert api.done() == TEXTS
    # Given back, and so there for the next one at once.
    assert [lease.leased for lease in api.leases.values() if not lease.done] == [False, False]


def test_an_exception_gives_back_what_is_in_hand_and_what_was_fetched(use: Use, api: FakeApi) -> None:
    api.post(*TEXTS)

    def work(delivery: Delivery) -> None:
        if delivery.message.text == TEXTS[2]:
            raise WorkFailed

    with pytest.raises(WorkFailed):
        use.consume(api, work)
    assert api.done() == TEXTS[:2]
    assert [lease.leased for lease in api.leases.values()] == [False] * 7
    worker = Worker(api)
    api.post("the end")
    use.consume(api, worker)
    assert worker.texts == TEXTS[2:]
    assert worker.got[0].deliveries == 2


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=503),
        Fault(status=429, headers={"Retry-After": "0"}),
        Fault(refused=True),
        Fault(lost=True),
        Fault(cut=True),
        Fault(body=b'{"results":[]}'),
        Fault(body=b'{"resul'),
    ],
    ids=lambda fault: repr(fault)[6:40],
)
def test_an_acknowledgement_that_fails_is_sent_again(use: Use, api: FakeApi, fault: Fault) -> None:
    api.post(*TEXTS, "the end")
    api.fault("/v1/acks", fault, fault, fault)
    worker = Worker(api)
    use.consume(api, worker, batch=2)
    assert worker.texts == TEXTS
    assert api.done() == TEXTS
    assert api.faults_left == 0


@pytest.mark.parametrize("fault", [Fault(status=503), Fault(refused=True), Fault(body=b"<html>")])
def test_a_poll_that_fails_is_made_again(use: Use, api: FakeApi, fault: Fault) -> None:
    api.post(*TEXTS, "the end")
    api.fault("/v1/messages", fault, Fault(), fault, fault)
    worker = Worker(api)
    use.consume(api, worker, batch=2)
    assert api.done() == TEXTS


@pytest.mark.parametrize("fault", [Fault(lost=True), Fault(cut=True)])
def test_a_poll_whose_answer_is_lost_is_served_again_when_its_leases_end(
    use: Use, api: FakeApi, fault: Fault
) -> None:
    api.post(*TEXTS[:2])
    api.fault("/v1/messages", fault)

    def expire_when_lost(delivery: Delivery) -> None:
        if delivery.message.text == "later":
            api.expire_leases()
        if delivery.message.text == "the end":
            raise Leave

    api.fault("/v1/messages", Fault(status=503))  # time for the posts that wake the next poll
    api.post("later", "the end")
    use.consume(api, expire_when_lost, batch=2)
    again = Worker(api)
    use.consume(api, again)
    assert set(api.done()) | set(again.texts) == {*TEXTS[:2], "later"}


def test_acknowledgements_are_sent_together(use: Use, api: FakeApi) -> None:
    api.post(*[f"{number}" for number in range(500)], "the end")
    worker = Worker(api)
    use.consume(api, worker, batch=500, ack_within_s=10)
    assert len(api.done()) == 500
    assert api.count("/v1/acks") <= 20


def test_leases_are_renewed_while_the_body_works(use: Use, api: FakeApi) -> None:
    api.post("long work", "the end")
    worker = Worker(api)

    def work(delivery: Delivery) -> Callable[[], bool] | None:
        worker(delivery)
        return lambda: api.count("/v1/leases") >= 2

    use.consume(api, work, lease_s=1)
    renewal = next(asked for asked in api.asked if asked.path == "/v1/leases")
    # What was fetched and is not begun is renewed with it.
    assert renewal.body == {"receipts": ["1.1", "2.1"], "lease": 1}
    assert worker.got[0].leased
    assert api.done() == ["long work"]


def test_a_lease_that_ended_is_told_and_the_work_still_counts(
    use: Use, api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    api.post("long work", "not begun", "the end")
    worker = Worker(api)

    def work(delivery: Delivery) -> Callable[[], bool] | None:
        worker(delivery)
        if delivery.message.text == "long work":
            api.expire_leases()
            return lambda: not delivery.leased
        return None

    with caplog.at_level(logging.WARNING, "telewarden_http.client"):
        use.consume(api, work, lease_s=1, batch=2)
    assert "leases have ended, and the work may be done twice" in caplog.text
    assert api.done() == ["long work", "not begun"]
    # What was not begun was left to whoever has it, and then came again.
    assert [(each.message.text, each.deliveries) for each in worker.got] == [
        ("long work", 1),
        ("not begun", 2),
    ]


def test_acknowledgements_that_cannot_be_sent_are_told_at_the_end(use: Use, api: FakeApi) -> None:
    api.post("work", "the end")
    api.fault("/v1/acks", *[Fault(status=503)] * 1000)
    with pytest.raises(AcknowledgementsNotSent, match="1 acknowledgements were not confirmed") as lost:
        use.consume(api, Worker(api), close_s=0.1)
    assert lost.value.receipts == ("1.1",)


def test_an_error_of_the_body_is_not_hidden_by_acknowledgements_that_cannot_be_sent(
    use: Use, api: FakeApi
) -> None:
    api.post("work", "more work")
    api.fault("/v1/acks", *[Fault(status=503)] * 1000)

    def work(delivery: Delivery) -> None:
        if delivery.message.text == "more work":
            raise WorkFailed

    with pytest.raises(WorkFailed) as failed:
        use.consume(api, work, close_s=0.1)
    assert "1 acknowledgements were not confirmed" in failed.value.__notes__[0]


def test_a_key_that_is_refused_ends_it(use: Use, api: FakeApi) -> None:
    with pytest.raises(KeyRefused, match="not valid"):
        use.consume(api, Worker(api), key="wrong")


def test_a_key_that_is_refused_meanwhile_ends_it_when_the_loop_comes_back(use: Use, api: FakeApi) -> None:
    api.post(*TEXTS)
    api.fault("/v1/acks", *[Fault(status=403)] * 3)
    worker = Worker(api)

    def work(delivery: Delivery) -> Callable[[], bool] | None:
        worker(delivery)
        return (lambda: api.count("/v1/acks") > 0) if len(worker.got) > 1 else None

    with pytest.raises(KeyRefused):
        use.consume(api, work, ack_within_s=0)
    assert len(worker.got) < len(TEXTS)


def test_an_event_may_be_given_back_for_later_and_acknowledged_before_a_break(api: FakeApi) -> None:
    api.post("not now", "done")
    with (
        Client("http://fake", KEY, http_transport=FakeTransport(api)) as client,
        client.consume() as deliveries,
    ):
        for delivery in deliveries:
            if delivery.message.text == "not now":
                deliveries.give_back(delivery, delay_s=60)
            else:
                deliveries.acknowledge(delivery)
                break
    assert api.done() == ["done"]
    assert api.leases[1].delay == 60


def test_without_with_nothing_is_fetched(api: FakeApi) -> None:
    with Client("http://fake", KEY, http_transport=FakeTransport(api)) as client:
        with pytest.raises(RuntimeError, match="use it as: with"):
            iter(client.consume())
        assert api.asked == []


def test_another_thread_can_stop_it(api: FakeApi) -> None:
    api.post(*TEXTS)
    got = []
    with (
        Client("http://fake", KEY, http_transport=FakeTransport(api)) as client,
        client.consume() as deliveries,
    ):
        for delivery in deliveries:
            got.append(delivery.message.text)
            deliveries.stop()
    assert got == api.done() == TEXTS[:1]


@pytest.mark.parametrize("option", [{"lease_s": 0}, {"batch": 1001}, {"wait_s": 0}, {"ack_within_s": 16}])
def test_bounds_are_named(api: FakeApi, option: dict[str, int]) -> None:
    with (
        Client("http://fake", KEY, http_transport=FakeTransport(api)) as client,
        pytest.raises(ValueError, match=next(iter(option))),
    ):
        client.consume(**option)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_handlers_run_at_once_and_one_that_fails_does_not_stop_the_others(
    api: FakeApi, backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    api.post(*TEXTS)
    at_once = most = 0

    async def handler(delivery: Delivery) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            await anyio.sleep(0.01)
            if delivery.message.text == TEXTS[3]:
                raise WorkFailed
        finally:
            at_once -= 1

    async def use() -> None:
        async with (
            AsyncClient("http://fake", KEY, retry=QUICK, http_transport=FakeTransport(api)) as client,
            anyio.create_task_group() as tasks,
        ):

            async def run() -> None:
                await client.run(handler, concurrency=3)

            tasks.start_soon(run)
            with anyio.fail_after(10):
                while len(api.done()) < 6 or not api.leases[4].delay:
                    await anyio.sleep(0.005)
            tasks.cancel_scope.cancel()

    anyio.run(use, backend=backend)
    assert most == 3
    assert api.done() == [text for text in TEXTS if text != TEXTS[3]]
    assert api.leases[4].delay == 1
    assert "message 4 of -1001649127710 failed, and is served again in 1 s" in caplog.text
    assert "WorkFailed" in caplog.text


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancellation_gives_back_what_is_in_hand(api: FakeApi, backend: str) -> None:
    api.post("done", "in hand", "fetched")

    async def use() -> None:
        async with AsyncClient("http://fake", KEY, retry=QUICK, http_transport=FakeTransport(api)) as client:
            with anyio.CancelScope() as scope:
                async with client.consume() as deliveries:
                    async for delivery in deliveries:
                        if delivery.message.text == "in hand":
                            scope.cancel()
                            await anyio.sleep_forever()
            assert scope.cancelled_caught

    anyio.run(use, backend=backend)
    assert api.done() == ["done"]
    assert [lease.leased for lease in api.leases.values()] == [False] * 3

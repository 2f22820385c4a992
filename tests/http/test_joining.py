"""Callers that ask the same at once share one look, which began after they came."""

import anyio
import pytest

from telewarden_http import joining
from telewarden_http.joining import Joined

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks here end when they are let, which takes as long as it takes."""
    monkeypatch.setattr(joining, "_PATIENCE_S", 60.0)


class Looks:
    """Looks that end when they are let; each gives its number."""

    def __init__(self) -> None:
        self.begun = 0
        self.let = anyio.Event()
        self.error: Exception | None = None
        self.joined = Joined[int]()
        self.answers: list[int] = []

    async def look(self) -> int:
        self.begun += 1
        number, let = self.begun, self.let
        await let.wait()
        if self.error is not None:
            raise self.error
        return number

    async def ask(self, question: str = "a") -> None:
        self.answers.append(await self.joined.ask(question, self.look))

    def let_go(self) -> None:
        let, self.let = self.let, anyio.Event()
        let.set()


async def test_who_comes_during_a_look_shares_the_next_one() -> None:
    looks = Looks()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(looks.ask)
        await anyio.wait_all_tasks_blocked()
        for _ in range(3):
            tasks.start_soon(looks.ask)
        await anyio.wait_all_tasks_blocked()
        assert looks.begun == 1
        looks.let_go()
        await anyio.wait_all_tasks_blocked()
        assert (looks.begun, looks.answers) == (2, [1])
        tasks.start_soon(looks.ask)
        await anyio.wait_all_tasks_blocked()
        looks.let_go()
        await anyio.wait_all_tasks_blocked()
        assert looks.answers == [1, 2, 2, 2]
        looks.let_go()
    assert looks.answers == [1, 2, 2, 2, 3], "who came after the second had begun"


async def test_who_comes_in_the_same_turn_shares_it() -> None:
    looks = Looks()
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(looks.ask)
        await anyio.wait_all_tasks_blocked()
        looks.let_go()
    assert looks.answers == [1, 1, 1]


async def test_other_questions_are_other_looks() -> None:
    looks = Looks()
    async with anyio.create_task_group() as tasks:
        for question in "abc":
            tasks.start_soon(looks.ask, question)
        await anyio.wait_all_tasks_blocked()
        assert looks.begun == 3
        looks.let_go()


async def test_a_look_that_takes_long_holds_the_next_up_for_a_moment_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(joining, "_PATIENCE_S", 0.05)
    looks = Looks()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(looks.ask)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(looks.ask)
        with anyio.fail_after(5):
            while looks.begun < 2:
                await anyio.sleep(0.005)
        looks.let_go()
    assert sorted(looks.answers) == [1, 2]


async def test_an_error_is_that_of_all_who_share_it() -> None:
    looks = Looks()
    errors: list[str] = []

    async def ask() -> None:
        try:
            await looks.ask()
        except LookupError as error:
            errors.append(str(error))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(ask)
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        looks.let_go()
        await anyio.wait_all_tasks_blocked()
        looks.error = LookupError("no")
        looks.let_go()
    assert (looks.answers, errors) == ([1], ["no", "no"])
    looks.error = None
    looks.let.set()
    await looks.ask()
    assert looks.answers == [1, 3], "nothing is left of it"


@pytest.mark.parametrize("begun", [False, True])
async def test_the_others_go_on_without_a_caller_who_leaves(begun: bool) -> None:
    looks = Looks()
    leaving = anyio.CancelScope()

    async def leave() -> None:
        with leaving:
            await looks.ask()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(looks.ask)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(leave)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(looks.ask)
        await anyio.wait_all_tasks_blocked()
        if begun:
            looks.let_go()
            await anyio.wait_all_tasks_blocked()
        leaving.cancel()
        await anyio.wait_all_tasks_blocked()
        looks.let.set()
    assert looks.answers == ([1, 3] if begun else [1, 2])

"""The honest count of how polls were answered."""

from telewarden.storage.answers import OTHER, Answers
from telewarden_http.protocols import Source


def test_each_answer_counts_once_by_source_and_once_by_reason_if_it_was_not_the_caches() -> None:
    assert Answers().hit_rate is None
    answers = Answers()
    for _ in range(3):
        answers.answered(Source.CACHE, None)
    answers.answered(Source.DATABASE, "no mark")
    answers.answered(Source.JOURNAL, "down")
    assert answers.total == 5
    assert answers.hit_rate == 3 / 5
    assert answers.reasons == {"no mark": 1, "down": 1}
    assert answers.reasons.total() == answers.total - answers.polls[Source.CACHE]


def test_reasons_are_a_few_fixed_words() -> None:
    answers = Answers()
    for number in range(100):
        answers.answered(Source.DATABASE, f"Error {number} connecting to 127.0.0.1:6379")
    assert answers.reasons == {OTHER: 100}

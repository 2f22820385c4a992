"""Words that two packages have to agree on, since neither may import the other's."""

from telewarden import messages
from telewarden_http import parameters


def test_the_api_and_the_daemon_know_the_same_statuses() -> None:
    assert set(parameters.STATUSES) == set(messages.STATUSES)

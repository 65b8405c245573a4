import logging

import pytest

from stillhouse.quiet import quiet_loggers


def test_loggers_say_errors_only_and_afterwards_what_they_said_before(caplog: pytest.LogCaptureFixture):
    one, other = logging.getLogger("quiet.one"), logging.getLogger("quiet.other")
    one.setLevel(logging.INFO)
    with pytest.raises(KeyError), quiet_loggers("quiet.one", "root"):
        one.warning("dropped")
        other.warning("dropped: it has no level of its own, and root is quiet")
        one.error("an error")
        raise KeyError
    one.info("heard again")
    assert [record.message for record in caplog.records] == ["an error", "heard again"]
    assert (one.level, other.level) == (logging.INFO, logging.NOTSET)

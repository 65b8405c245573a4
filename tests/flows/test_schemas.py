"""What is published of the schemas is what the code says today."""

import pytest

from flows.schemas import published


@pytest.mark.parametrize("path", published(), ids=lambda path: path.name)
def test_the_published_file_is_todays(path):
    assert path.read_text(encoding="utf-8") == published()[path], "run `make schemas`"

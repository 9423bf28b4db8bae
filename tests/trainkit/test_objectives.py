import pytest

from dataforge.errors import ConfigError
from trainkit import objectives


def test_an_objective_is_found_by_its_file_name() -> None:
    assert "sft" in objectives.names()
    assert objectives.load("sft").EATS == "chat"


def test_an_unknown_objective_is_told_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match="did you mean 'sft'"):
        objectives.load("stf")

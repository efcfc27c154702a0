"""What a user waits for is measured from outside, process by process."""

import pytest

from benchmarks import in_hands
from personseg.errors import UserError


def test_a_process_is_timed_and_its_memory_taken():
    seconds, peak = in_hands.run(["--help"])
    assert 0.05 < seconds < 60 and 10e6 < peak < 2e9


def test_a_command_that_fails_is_not_timed(tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        in_hands.run(["info", str(tmp_path / "nowhere")])


def test_every_goal_is_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(in_hands, "run", lambda arguments: (1.5, 7))
    monkeypatch.setattr(in_hands, "demo_seconds", lambda *_: 0.5)
    monkeypatch.setattr(in_hands, "drawn", lambda size: in_hands.np.zeros((8, 8, 3), "uint8"))
    found = in_hands.measure(tmp_path, 3)
    assert set(in_hands.GOALS) <= set(found) and found["first_mask_s"] == 1.5 and found["largest_photo_bytes"] == 7


def test_photos_are_drawn_at_the_size_asked_for():
    assert in_hands.drawn((90, 60)).shape == (90, 60, 3) and in_hands.drawn((60, 90)).shape == (60, 90, 3)

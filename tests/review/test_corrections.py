"""What changes add up to."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.review.corrections import History, inside

CANDIDATES = Particles(
    np.array([[10.0, 10.0], [30.5, 10.25], [50.0, 10.0], [70.0, 10.0]]),
    np.array([0.9, 0.7, 0.5, 0.2]),
    np.array([8.0, 9.0, 10.0, 11.0]),
    1.5,
)
CHOSEN = CANDIDATES.select([0, 1, 2])


def entries(*changes):
    return [{"seq": number, **change} for number, change in enumerate(changes, start=1)]


def picks_after(*changes):
    history = History()
    for entry in entries(*changes):
        history.apply(entry)
    return history.corrections.picks(CHOSEN, CANDIDATES, 20.0)


def places(particles):
    return sorted(map(tuple, particles.centres.tolist()))


def add(*points):
    return {"kind": "add", "points": [list(point) for point in points]}


def remove(*points):
    return {"kind": "remove", "points": [list(point) for point in points]}


UNDO, REDO = {"kind": "undo"}, {"kind": "redo"}
BOX = {"kind": "box", "box": [60, 20, 40, 0]}  # corners in any order
STROKE = {"kind": "stroke", "points": [[0, 10], [32, 10]], "radius": 1.0}


def test_without_changes_they_are_those_of_the_run():
    assert places(picks_after()) == places(CHOSEN)


def test_added_ones_are_sure_and_have_the_usual_diameter_or_that_of_their_candidate():
    found = picks_after(add((5.5, 6.25), (70.0, 10.0)))
    assert places(found) == sorted([*places(CHOSEN), (5.5, 6.25), (70.0, 10.0)])
    assert found.scores[:2].tolist() == [1.0, 1.0]
    assert found.diameters[:2].tolist() == [20.0, 11.0]
    assert found.pixel_size == 1.5


def test_removed_ones_go_and_come_back_when_they_are_added():
    assert places(picks_after(remove((10.0, 10.0)))) == [(30.5, 10.25), (50.0, 10.0)]
    assert places(picks_after(remove((10.0, 10.0)), add((10.0, 10.0)))) == places(CHOSEN)
    assert places(picks_after(add((1.0, 2.0)), remove((1.0, 2.0)))) == places(CHOSEN)


def test_what_is_erased_goes_and_what_is_added_there_afterwards_stays():
    assert places(picks_after(BOX)) == [(10.0, 10.0), (30.5, 10.25)]
    assert places(picks_after(STROKE)) == [(50.0, 10.0)]
    assert places(picks_after(add((45.0, 5.0)), BOX)) == [(10.0, 10.0), (30.5, 10.25)]
    assert places(picks_after(BOX, add((45.0, 5.0)))) == [(10.0, 10.0), (30.5, 10.25), (45.0, 5.0)]


def test_a_lower_threshold_brings_nothing_back_into_what_was_erased():
    history = History()
    for entry in entries({"kind": "box", "box": [60, 0, 80, 20]}):
        history.apply(entry)
    assert places(history.corrections.picks(CANDIDATES, CANDIDATES, 20.0)) == places(CHOSEN)


def test_labels_of_a_micrograph_that_is_done_no_longer_follow_the_run():
    done = {"kind": "mark", "mark": "done", "labels": [[1.0, 2.0, 0.5, 8.0], [3.0, 4.0, 1.0, 9.0]]}
    assert places(picks_after(done)) == [(1.0, 2.0), (3.0, 4.0)]
    assert places(picks_after(done, remove((1.0, 2.0)))) == [(3.0, 4.0)]
    assert places(picks_after(done, UNDO)) == places(CHOSEN)
    assert places(picks_after(done, {"kind": "mark", "mark": None})) == places(CHOSEN)


def test_undoing_goes_back_to_the_beginning_and_doing_again_forth_to_the_end():
    changes = [add((1.0, 1.0)), remove((10.0, 10.0)), BOX, STROKE, add((2.0, 2.0))]
    states = [places(picks_after(*changes[:n])) for n in range(len(changes) + 1)]
    for back in range(len(changes) + 1):
        assert places(picks_after(*changes, *[UNDO] * back)) == states[len(changes) - back]
        assert places(picks_after(*changes, *[UNDO] * len(changes), *[REDO] * back)) == states[back]
    assert places(picks_after(*[UNDO] * 3, *changes)) == states[-1]
    # A new change leaves nothing to do again.
    assert places(picks_after(changes[0], UNDO, changes[1], REDO)) == places(picks_after(changes[1]))


@given(
    st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=1, max_size=5),
    st.floats(0.1, 30),
    st.tuples(st.floats(-60, 60), st.floats(-60, 60)),
)
def test_a_stroke_erases_what_is_no_further_than_its_radius_from_its_line(line, radius, point):
    a, b = np.array(line[:-1] or line), np.array(line[1:] or line)
    steps = a[:, None] + np.linspace(0, 1, 4001)[None, :, None] * (b - a)[:, None]
    gap = np.linalg.norm(steps - np.array(point), axis=2).min()
    region = {"kind": "stroke", "points": line, "radius": radius}
    if abs(gap - radius) > 0.1:
        assert inside(region, np.array([point]))[0] == (gap < radius)


@pytest.mark.parametrize(("x", "is_in"), [(39.99, False), (40, True), (60, True), (60.01, False)])
def test_a_box_erases_what_lies_in_it_or_on_its_border(x, is_in):
    assert inside(BOX, np.array([[x, 5.0]]))[0] == is_in

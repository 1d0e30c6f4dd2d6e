"""The enlarged micrograph: enlarged further and moved by mouse, wheel, keyboard, buttons and fingers."""

import numpy as np
import pytest

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.coordinates.region import Region
from cryotx_cli.report.model import ReportMicrograph
from cryotx_cli.report.page import write_report
from cryotx_cli.report.thumbnail import write_thumbnail
from made_up_runs import noise, run_of
from report_in_browser import require_browser

require_browser()

pytestmark = pytest.mark.slow

CENTRE = (2600.0, 900.0)


def pick():
    return Particles([CENTRE], [0.9], [600.0], 1.5), None


def film():
    """To the right of 2600 px, below 900."""
    edge = [CENTRE, [3999.5, CENTRE[1]], [3999.5, 2999.5], [CENTRE[0], 2999.5]]
    return Particles.empty(1.5), Region((np.array(edge),))


@pytest.fixture
def viewer(browser, tmp_path, request):
    """The viewer, open at the first of two micrographs of 4000 x 3000 px, with one pick 600 px wide, or with film."""
    write_thumbnail(tmp_path / "t.jpg", noise(300, 400), 10**5)
    found, region = getattr(request, "param", pick)()
    names = ("first.mrc", "second.mrc")
    picture = {"thumbnail": tmp_path / "t.jpg", "film": region}
    shown = [ReportMicrograph(name, found, 3000, 4000, len(found), **picture) for name in names]
    write_report(tmp_path / "report.html", run_of(), shown)
    browser.open(tmp_path / "report.html")
    browser.settle()
    browser.run("document.querySelector('#gallery button').click()")
    browser.settle()
    yield browser
    assert not browser.of("Runtime.exceptionThrown")


def box(browser, selector):
    """Left, top, width and height in the window."""
    return np.array(
        browser.run(f"(({{ x, y, width, height }}) => [x, y, width, height])({selector}.getBoundingClientRect())")
    )


def image(browser):
    return box(browser, "document.querySelector('#viewer img')")


def shown(browser):
    return box(browser, "document.querySelector('#viewer .picture')")


def place_of(browser, fraction):
    """Where a place of the micrograph lies in the window."""
    left_top, size = np.split(image(browser), 2)
    return left_top + size * fraction


def pixel_of(browser, fraction):
    """The pixel of the window there: a mouse points at whole ones, and at which place of the micrograph that is."""
    pixel = place_of(browser, fraction).round()
    left_top, size = np.split(image(browser), 2)
    return *pixel, (pixel - left_top) / size


def zoom(browser):
    return float(browser.text("#zoom-value").rstrip("×"))


def ring(browser):
    """Places in the window of the bright pixels that are drawn over the micrograph, scale bar apart."""
    points = browser.run(
        "(() => { const c = document.querySelector('#viewer canvas'), copy = document.createElement('canvas');"
        "[copy.width, copy.height] = [c.width, c.height];"
        "const context = copy.getContext('2d', {willReadFrequently: true}); context.drawImage(c, 0, 0);"
        "const d = context.getImageData(0, 0, c.width, c.height - 60).data, found = [];"
        "for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 200 && Math.abs(d[i] - d[i + 2]) > 40)"
        "found.push([(i / 4 % c.width + 0.5) / c.width, (Math.floor(i / 4 / c.width) + 0.5) / c.height]);"
        "return found; })()"
    )
    left_top, size = np.split(shown(browser), 2)
    return left_top + np.array(points).reshape(-1, 2) * size


def test_keys_and_buttons_enlarge_and_arrows_move_what_is_enlarged(viewer):
    whole = image(viewer)
    assert whole.tolist() == shown(viewer).tolist()
    assert (viewer.text("#zoom-value"), viewer.run("document.getElementById('zoom-out').disabled")) == ("1×", True)
    viewer.press("+")
    viewer.press("+")
    assert zoom(viewer) == pytest.approx(2.25, abs=0.06)
    assert image(viewer)[2:] == pytest.approx(2.25 * whole[2:], rel=0.01)
    room = box(viewer, "document.getElementById('viewer-room')")
    assert shown(viewer)[2:] == pytest.approx(np.minimum(2.25 * whole[2:], room[2:]), abs=1)
    before = image(viewer)
    viewer.press("ArrowRight")
    assert image(viewer)[:2] == pytest.approx(before[:2] - (0.2 * shown(viewer)[2], 0), abs=1)
    viewer.press("ArrowUp")
    assert image(viewer)[1] == pytest.approx(before[1] + 0.2 * shown(viewer)[3], abs=1)
    for _ in range(12):
        viewer.press("ArrowRight")
    left, _, width, _ = shown(viewer)
    assert image(viewer)[0] + image(viewer)[2] == pytest.approx(left + width, abs=1)  # no further than the border
    assert viewer.text("#viewer-name") == "first.mrc"
    viewer.press("0")
    assert image(viewer).tolist() == whole.tolist()
    viewer.press("+")
    viewer.press("PageDown")
    assert viewer.text("#viewer-name") == "second.mrc"
    assert image(viewer).tolist() == whole.tolist()
    viewer.press("ArrowLeft")  # all of it is shown: arrows lead to the others
    assert viewer.text("#viewer-name") == "first.mrc"
    viewer.run("document.getElementById('zoom-in').click()")
    viewer.settle()
    assert zoom(viewer) == 1.5
    viewer.run("document.getElementById('zoom-value').click()")
    viewer.settle()
    assert image(viewer).tolist() == whole.tolist()


def test_the_wheel_enlarges_what_lies_under_the_pointer_and_dragging_moves_it(viewer):
    x, y, aim = pixel_of(viewer, (0.7, 0.4))
    for _ in range(3):
        viewer.mouse("Wheel", x, y, deltaX=0, deltaY=-240)
        viewer.settle()
    assert zoom(viewer) == 8
    assert place_of(viewer, aim) == pytest.approx([x, y], abs=1.5)
    viewer.mouse("Pressed", x, y, button="left", clickCount=1)
    for step in (20, 40, 60):
        viewer.mouse("Moved", x - step, y + step / 2, button="left", buttons=1)
    viewer.mouse("Released", x - 60, y + 30, button="left", clickCount=1)
    viewer.settle()
    assert place_of(viewer, aim) == pytest.approx([x - 60, y + 30], abs=2)
    viewer.mouse("Moved", x + 50, y)  # let go: nothing follows the pointer any more
    viewer.settle()
    assert place_of(viewer, aim) == pytest.approx([x - 60, y + 30], abs=2)
    for _ in range(6):
        viewer.mouse("Wheel", x, y, deltaX=0, deltaY=240)
    viewer.settle()
    assert zoom(viewer) == 1
    for count in (1, 2):
        viewer.mouse("Pressed", x, y, button="left", clickCount=count)
        viewer.mouse("Released", x, y, button="left", clickCount=count)
    viewer.settle()
    assert zoom(viewer) == 3
    assert place_of(viewer, aim) == pytest.approx([x, y], abs=1.5)


def test_fingers_that_part_enlarge_and_one_finger_moves(viewer):
    x, y, aim = pixel_of(viewer, (0.5, 0.5))

    def touch(kind, *points):
        places = [{"x": x + dx, "y": y + dy, "id": i} for i, (dx, dy) in enumerate(points)]
        viewer.call("Input.dispatchTouchEvent", type=f"touch{kind}", touchPoints=places)

    touch("Start", (-40, 0), (40, 0))
    for half in (60, 80, 120):
        touch("Move", (-half, 0), (half, 0))
    touch("End")
    viewer.settle()
    assert zoom(viewer) == pytest.approx(3, abs=0.1)
    assert place_of(viewer, aim) == pytest.approx([x, y], abs=3)
    touch("Start", (0, 0))
    for step in (20, 40, 50):
        touch("Move", (step, -step))
    touch("End")
    viewer.settle()
    assert place_of(viewer, aim) == pytest.approx([x + 50, y - 50], abs=3)


@pytest.mark.parametrize("steps", [0, 2, 6])
def test_circles_stay_at_the_picks_however_large(viewer, steps):
    aim = (np.array(CENTRE) + 0.5) / (4000, 3000)
    x, y = place_of(viewer, aim)
    viewer.mouse("Wheel", x, y, deltaX=0, deltaY=-80 * steps)
    viewer.settle()
    radius = 300 / 4000 * image(viewer)[2]
    distances = np.linalg.norm(ring(viewer) - place_of(viewer, aim), axis=1)
    assert len(distances) > 200
    assert np.abs(distances - radius).max() < 3.5


@pytest.mark.parametrize("steps", [0, 2, 6])
@pytest.mark.parametrize("viewer", [film], indirect=True)
def test_film_stays_where_it_is_however_large(viewer, steps):
    aim = (np.array(CENTRE) + 0.5) / (4000, 3000)
    x, y = place_of(viewer, aim)
    viewer.mouse("Wheel", x, y, deltaX=0, deltaY=-80 * steps)
    viewer.settle()
    beyond = ring(viewer) - place_of(viewer, aim)
    assert beyond.min() > -3.5
    left_top, size = np.split(shown(viewer), 2)
    for axis in (0, 1):  # an edge from the corner to the border
        length = (left_top + size - place_of(viewer, aim))[1 - axis] - 60
        assert (np.abs(beyond[:, axis]) < 2.5).sum() > 0.9 * length
    assert (beyond > 5).all(1).sum() > 300  # and what they part off is hatched
